"""The vocabulary of the demo data: skewed as in life, with the characters that break naive searches."""

FLOWS = (
    "etl", "100%_reliable", "o'brien\\nightly", "Größenabgleich", "ingest_orders", "Ingest Orders", "数据同步",
    "train_model", "TRAIN_MODEL", "a_b", "axb", "50% off", "naïve-bayes", "crème brûlée", "sync\\share", "''quoted''",
)  # fmt: skip
FLOW_STEMS = ("ingest", "transform", "load", "Report", "sync_crm", "score", "cleanup", "Export", "validate", "größe")

DEPLOYMENTS = (
    "nightly", "daily", "hourly-sync", "weekly", "backfill", "main", "prod", "staging", "Nightly", "DAILY", "adhoc",
    "dev_test", "devXtest", "50%", "it's", "back\\slash", "täglich", "每日", "Ünïcode", "a%b_c", "Canary", "replay",
)  # fmt: skip

POOLS = (
    ("default-process", "process"), ("k8s_prod", "kubernetes"), ("k8s-Staging", "kubernetes"), ("docker%", "docker"),
    ("ecs-fargate", "ecs"), ("Größe", "process"), ("managed", "prefect:managed"), ("push\\modal", "modal:push"),
    ("o'pool", "docker"), ("vertex-ai", "vertex-ai"), ("cloud_run", "cloud-run-v2"), ("K8S_PROD-eu", "kubernetes"),
)  # fmt: skip
QUEUES = ("default", "high", "low_priority", "gpu'%", "Warteschlange-ä")

TAGS = {
    "prod": 400, "etl": 300, "daily": 200, "team-data": 120, "team-ml": 80, "critical": 40, "staging": 40, "pii": 20,
    "Prod": 10, "größe": 8, "50%": 5, "snake_case": 5, "it's": 3, "back\\slash": 3, "标签": 3, "rare-red": 1,
    "rare-blue": 1, "": 1,
}  # fmt: skip

ZONES = (None, "UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
CRONS = ("0 0 * * *", "*/15 * * * *", "30 6 * * 1-5", "@daily", "0 12 1 * *", "5 4 * * sun", "@hourly")
RRULES = (
    "FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,WE,FR;BYHOUR=7", "FREQ=MONTHLY;BYMONTHDAY=1",
    "DTSTART:20250101T060000\nRRULE:FREQ=HOURLY;INTERVAL=6", "FREQ=DAILY;UNTIL=20400102T040000Z",
)  # fmt: skip
INTERVALS = (0.5, 60.0, 900.0, 3600.0, 5400.25, 86400.0, 604800.0)
ANCHORS = (
    "2024-01-01T00:00:00Z", "2024-01-01T00:00:00+02:00", "2025-03-30T01:59:59.123456-05:00", "2023-06-15T12:30:00.5Z",
)  # fmt: skip

ADJECTIVES = (
    "amber", "bold", "brave", "calm", "clever", "crimson", "eager", "fuzzy", "gentle", "golden", "hidden", "jolly",
    "kind", "lively", "mellow", "nimble", "proud", "quick", "quiet", "rapid", "shiny", "silent", "sturdy", "swift",
    "tidy", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
ANIMALS = (
    "adder", "badger", "bison", "cat", "civet", "crane", "dingo", "eagle", "ferret", "gecko", "heron", "ibex", "jackal",
    "koala", "lemur", "lynx", "marten", "newt", "otter", "panda", "quail", "raven", "seal", "stoat", "tapir", "urial",
    "viper", "wombat", "yak", "zebra",
)  # fmt: skip

TASKS = {
    "extract": 300, "load": 250, "transform": 220, "validate": 80, "fetch_page": 60, "notify": 30, "score_batch": 20,
    "Load": 10, "größe_%": 3, "it's": 2,
}  # fmt: skip

RUN_STATES = {
    ("COMPLETED", "Completed"): 8290, ("COMPLETED", "Cached"): 110, ("FAILED", "Failed"): 700,
    ("FAILED", "TimedOut"): 70, ("CRASHED", "Crashed"): 150, ("CANCELLED", "Cancelled"): 190,
    ("SCHEDULED", "Scheduled"): 240, ("SCHEDULED", "Late"): 60, ("SCHEDULED", "AwaitingRetry"): 30,
    ("PENDING", "Pending"): 40, ("RUNNING", "Running"): 8, ("RUNNING", "Retrying"): 2, ("PAUSED", "Paused"): 30,
    ("PAUSED", "Suspended"): 10, ("CANCELLING", "Cancelling"): 10, (None, None): 60,
}  # fmt: skip

TASK_STATES: dict[str | None, dict[tuple[str | None, str | None], int]] = {
    "COMPLETED": {
        ("COMPLETED", "Completed"): 9500, ("COMPLETED", "Cached"): 200, ("FAILED", "Failed"): 250,
        ("CANCELLED", "Cancelled"): 30, (None, None): 20,
    },
    "FAILED": {
        ("COMPLETED", "Completed"): 55, ("FAILED", "Failed"): 33, ("FAILED", "TimedOut"): 4, ("PENDING", "NotReady"): 8,
    },
    "CRASHED": {("COMPLETED", "Completed"): 70, ("RUNNING", "Running"): 8, ("CRASHED", "Crashed"): 22},
    "CANCELLED": {("COMPLETED", "Completed"): 60, ("CANCELLED", "Cancelled"): 40},
    "RUNNING": {("COMPLETED", "Completed"): 50, ("RUNNING", "Running"): 40, ("SCHEDULED", "AwaitingRetry"): 10},
    None: {("COMPLETED", "Completed"): 60, ("PENDING", "Pending"): 25, ("PAUSED", "Paused"): 5, (None, None): 10},
}  # fmt: skip
"""What becomes of a run's tasks; the last line is for every other state of the run."""

OWNERS_OF_RUNS = ("DEPLOYMENT", "DEPLOYMENT", "DEPLOYMENT", "DEPLOYMENT", "SCHEDULE", "SCHEDULE", "AUTOMATION", "USER")
