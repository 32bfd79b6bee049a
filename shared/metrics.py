"""What a process counts, for Prometheus. Seconds and bytes; every label takes a few values only."""

from prometheus_client import Counter, Gauge, Histogram, Info

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# --- the process
BUILD = Info("classis_build", "The version that runs, and the services of this process")

# --- the gateway's door
REQUESTS = Histogram(
    "classis_http_request_seconds", "Answering a request by HTTP", ["endpoint", "status"], buckets=SECONDS
)
SENT = Counter("classis_http_response_bytes", "Bytes of bodies, before compression", ["endpoint"])

# --- the gateway's upstream
UPSTREAM = Histogram(
    "classis_upstream_seconds", "Waiting for the head of an answer", ["outcome"], buckets=SECONDS
)  # outcome: 2xx and so on, failed, or given_up by the client
TURNED_AWAY = Counter("classis_turned_away", "Connections closed because CLASSIS_MAX_CONNECTIONS are open")
TUNNELS = Gauge("classis_upstream_tunnels", "WebSockets that are open through the gateway")
FALLBACKS = Counter("classis_fallback", "Searches passed on because the fleet could not answer", ["reason"])
SHADOWS = Counter(
    "classis_shadow", "Searches that the upstream was asked too", ["outcome"]
)  # same, moved, different, failed, skipped

# --- the bus; `service` is the one that is asked, `outcome` is ok or the error's name
CALLS = Histogram("classis_call_seconds", "Waiting for a service", ["subject", "outcome"], buckets=SECONDS)
SERVED = Histogram("classis_served_seconds", "Answering a message", ["subject", "outcome"], buckets=SECONDS)
IN_FLIGHT = Gauge("classis_in_flight", "Requests being worked on", ["service"])
REFUSED = Counter("classis_refused", "Requests refused because there are too many", ["service"])
RETRIED = Counter("classis_retried", "Calls sent again after a refusal or a lost connection", ["service", "reason"])
HEDGED = Counter("classis_hedged", "Calls sent again because nobody was working on them", ["service"])
RELEASED = Counter("classis_released", "Accepted work that was stopped because its caller went away", ["service"])
LARGE = Counter("classis_large_payloads", "Payloads larger than a message, sent in parts", ["service"])
BUS_TROUBLE = Counter("classis_bus_trouble", "Errors that NATS or its client told of", ["kind"])
RECONNECTS = Counter("classis_bus_reconnects", "Connections to NATS made anew")

# --- the database
QUERIES = Histogram("classis_query_seconds", "One use of a connection to Postgres", ["outcome"], buckets=SECONDS)
FRESHNESS = Counter("classis_replica_reads", "Uses of a replica, by how it came to be current", ["outcome"])
# outcome: current (at once), waited, primary (asked instead)
ROWS = Counter("classis_rows", "Rows or keys found", ["service"])
STRATEGIES = Counter("classis_strategy", "Runs legs answered, by strategy", ["strategy"])
POOL = Gauge("classis_pool_connections", "Connections to Postgres", ["pool", "state"])  # state: open, idle
SCHEMA = Gauge("classis_schema_known", "Whether the revision of Prefect's schema is known: 1, or 0", ["revision"])
ROW_CACHE = Counter("classis_row_cache", "Rows asked of the row cache", ["outcome"])  # hit, miss
