"""How single values are read: numbers, truths, texts, UUIDs, instants, words; and the errors when they are not."""

from typing import Any

from tests.conformance.asking import AUTHOR, COUNT, PAGE, ask, dep, each, flow, queue

# fmt: off
# The tables are laid out by hand.

# --- integers

NUMBERS: list[Any] = [
    0, 1, 10, 10.0, 1e1, -0.0, "10", " 10 ", "\t10\n", "+5", "-0", "007", "1_0", "1_0_0", "10.000", "10.0", "+1.0",
    "\u00a05", "5\u2003", True, False, None, 10.5, 0.1, "", " ", "10.", ".0", "10.50", "1e1", "0x10", "1__0", "1_",
    "_1", "+ 5", "++5", "--5", "1 0", "٣", "Ⅷ", "null", "true", "NaN", "inf", "1,0", "1.0.0", "1._0", "1_0.0", "0b1",
    [], [1], {}, {"a": 1}, 1e300, -1e300, -(2**70),
]

INTEGERS = [
    *each("limit", lambda value: {"limit": value}, NUMBERS),
    *each("limit", lambda value: {"limit": value}, [200, 201, -1, "200", "201", "-1", 200.0, 201.0, 200.5, 2**70,
        10**30, "1" * 4300, "1" * 4301]),
    *each("offset", lambda value: {"offset": value, "limit": 3}, [*NUMBERS, -1, "-1", 43, 1000, 2**31, 2**63 - 1]),
    *each("page", lambda value: {"page": value, "limit": 5}, [*NUMBERS, -1, 2, "2", 9, 10, 1000, 2**31], PAGE),
    *each("page_limit", lambda value: {"limit": value, "page": 2}, [*NUMBERS, 43, 44, 200, 201, -1], PAGE),
    *each("ge_", lambda value: {"limit": 1, "deployments": {"concurrency_limit": {"ge_": value}}}, [*NUMBERS, -1,
        2**63]),
    *each("count_ignores", lambda value: {"limit": value, "offset": value, "page": value, "sort": value}, [-1, "junk",
        [], 10**30, None], COUNT),
    ask("filter_ignores_page", {"page": "x", "limit": 1}),
    ask("paginate_ignores_offset", {"offset": "x", "limit": 1}, PAGE),
    ask("limit_range_beats_other_errors", {"limit": 999, "offset": "x", "deployments": {"z": 1}}),
    ask("limit_range_beats_other_errors_paginate", {"limit": -5, "page": 0, "sort": 1}, PAGE),
    ask("limit_type_joins_other_errors", {"limit": "zz", "offset": -1, "sort": "s"}),
    ask("offset_and_page_errors", {"limit": [], "page": "q", "sort": 3, "flows": 1}, PAGE),
]

# --- booleans

TRUTHS: list[Any] = [
    True, False, 1, 0, 1.0, 0.0, -0.0, "true", "TRUE", "tRuE", "t", "T", "yes", "Y", "on", "1", "false", "F", "no",
    "N", "OFF", "0", None, 2, -1, 1.5, 0.5, "1.0", "", " true", "true ", "oui", "yess", "tr", [], {}, [True], 10**30,
    1e300, "10", "ｔ", 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 1e18, 1e19,
]

BOOLEANS = [
    *each("eq_", lambda value: {"limit": 5, "deployments": {"paused": {"eq_": value}}}, TRUTHS),
    *each("is_null_", lambda value: {"deployments": {"tags": {"is_null_": value}}}, TRUTHS, COUNT),
    *each("exists_", lambda value: {"task_runs": {"subflow_runs": {"exists_": value}}}, TRUTHS, COUNT),
]

# --- strings and lists: nothing is wrapped, trimmed or converted

NO_STRINGS: list[Any] = [
    1, 1.5, True, [], ["a"], {}, {"a": 1},
]

NO_LISTS: list[Any] = [
    1, "daily", True, {}, {"0": "daily"},
]

STRINGS = [
    *each("like_", lambda value: {"deployments": {"name": {"like_": value}}}, NO_STRINGS),
    *each("name_any_item", lambda value: {"deployments": {"name": {"any_": ["daily", value, "zeta"]}}}, [*NO_STRINGS,
        None]),
    *each("name_any_", lambda value: {"deployments": {"name": {"any_": value}}}, [*NO_LISTS, None, []]),
    *each("tags_all_", lambda value: {"deployments": {"tags": {"all_": value}}}, [*NO_LISTS, None, [], [1, None, "x"]]),
    *each("startswith_", lambda value: {"work_pool_queues": {"name": {"startswith_": value}}}, [*NO_LISTS, None,
        [None]]),
    *each("no_trimming", lambda value: {"deployments": {"name": {"any_": [value]}}}, ["daily ", " daily", " padded ",
        "padded", "", "Daily"]),
    ask("long_string", {"deployments": {"name": {"any_": ["x" * 100_000]}}}, COUNT),
    ask("long_pattern", {"deployments": {"name": {"like_": "x" * 100_000}}}, COUNT),
    ask("list_of_5000", {"deployments": {"id": {"any_": [dep(number) for number in range(5000)]}}}, COUNT),
    ask("duplicates_in_a_list", {"deployments": {"id": {"any_": [dep(1)] * 10}}}),
]

# --- UUIDs

ONE = dep(1)

UUIDS = [
    *each("uuid", lambda value: {"deployments": {"id": {"any_": [value]}}}, [ONE, ONE.upper(), ONE.replace("-", ""),
        ONE.replace("-", "").upper(), f"{{{ONE}}}", f"{{{ONE.upper()}}}", f"urn:uuid:{ONE}",
        f"urn:uuid:{ONE.upper()}", "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000"]),
    *each("no_uuid", lambda value: {"deployments": {"id": {"any_": [value]}}}, [f"URN:UUID:{ONE}",
        f"{{{ONE.replace('-', '')}}}", f"urn:uuid:{{{ONE}}}", f"urn:uuid:{ONE.replace('-', '')}", f" {ONE}",
        f"{ONE} ", f"{ONE}\n", ONE[:-1], f"{ONE}0", ONE.replace("-", "_"), ONE.replace("-", ""[:0]) + "0",
        f"{ONE[:8]}{ONE[9:]}", f"{{{ONE}", f"{ONE}}}", f"({ONE})", "nope", "", "-", "{}", ONE.replace("0", "g", 1),
        ONE.replace("0", "é", 1), "0" * 31, "0" * 33, "0x" + "0" * 30, "00000de9-00004000-8000-000000000001-",
        "0-0000de9-0000-4000-8000-00000000001", "①" + ONE[1:]]),
    *each("uuid_kind", lambda value: {"deployments": {"id": {"any_": [value]}}}, [None, 1, 1.5, True, [], {}, [ONE],
        10**40]),
    *each("uuid_list", lambda value: {"deployments": {"id": {"any_": value}}}, [ONE, None, 1, {}, [ONE, "x", None,
        ONE, 7]]),
    ask("created_by_id_any_case", {"flow_runs": {"created_by": {"id_": [AUTHOR.upper(), AUTHOR.replace("-", "")]}}}),
]

def _when(value: object) -> object:
    return {"flow_runs": {"expected_start_time": {"after_": value, "before_": value}}}

def _after(value: object) -> object:
    return {"flow_runs": {"expected_start_time": {"after_": value}}}

INSTANTS = [
    *each("when", _when, [1714780800, 1714780800.0, 1714780800000, "1714780800", "1714780800000", "+1714780800",
        "1714780800.0", "1714780800000.0", "2024-05-04", "2024-05-04T00:00", "2024-05-04t00:00", "2024-05-04 00:00",
        "2024-05-04_00:00", "2024-05-04T00:00:00", "2024-05-04T00:00:00Z", "2024-05-04T00:00:00z",
        "2024-05-04T00:00Z", "2024-05-04T00:00:00.0", "2024-05-04T00:00:00,000Z", "2024-05-04T00:00:00.000000999Z",
        "2024-05-04T00:00:00.000001Z", "2024-05-04T02:00:00+02:00", "2024-05-03T20:00:00-0400",
        "2024-05-04T05:45+0545", "2024-05-03T20:00:00-04:00", "2024-05-04T00:00:00+00:00",
        "2024-05-04T00:00:00-00:00", "2024-05-04T23:59:00+23:59", "2024-05-03T22:00:00\u221202:00",
        "2024-05-04T03:00:00+02:60",
        1714780800.0000001, 1714780800.5, "1714780800.000001"], COUNT),
    *each("after", _after, [0, -1, "-1", "1.5", 1.5, "2024", "20240504", 20_000_000_000, 20_000_000_001,
        -20_000_000_000, -20_000_000_001, "2024-02-29", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z",
        "9999-12-31", None, 1e10, 1e-10, "007", "-0", 0.0000001, "1.", ".5", "-.5", 253402300799999, -62135596800000,
        "-62135596800000", "2024-05-04T00:00:00.123456789012345678901234567890Z"], COUNT),
    *each("no_instant", _after, ["", " ", " 2024-05-04", "2024-05-04 ", "2024-05-04T00:00:00 UTC",
        "2024-05-04T00:00:00 Z", "2024-05-04T00:00:00[UTC]", "2024-05-04T00:00:00Europe/Berlin",
        "2024-05-04T24:00:00Z", "2024-05-04T23:60Z", "2024-05-04T23:59:60Z", "2024-5-4", "2024-05-4", "24-05-04",
        "2024-13-01", "2024-00-01", "2024-02-30", "2023-02-29", "2024-05-04T1:00", "2024-05-04T01:0", "0000-01-01",
        "10000-01-01", "P1D", "PT1H", "2024-05-04/2024-05-05", "May 4 2024", "tomorrow", "x",
        "2024-05-04T00:00:00+25", "2024-05-04T00:00:00+2:00", "2024-05-04T00:00:00.Z", "1_000", "1e9", "0x10", "NaN",
        "inf", "1714780800 ", "--1", "+-1", "true", "null", "-", "Z", "T"], COUNT, "types"),
    *each("no_instant_kind", _after, [True, False, [], [1], {}, {"a": 1}], COUNT, "types"),
    *each("beyond_year_9999", _after, [253402300800000, 1e15, "253402300800000", 1e300, 10**30, -62135596800001],
        COUNT, "types"),
    ask("both_bounds_are_bad", {"flow_runs": {"start_time": {"before_": "x", "after_": True, "is_null_": "x"}}},
        compare="types"),
]

# --- enumerations are exact

ENUMS = [
    *each("operator", lambda value: {"deployments": {"operator": value, "paused": {"eq_": True},
        "name": {"like_": "daily"}}}, ["and_", "or_", None, "OR_", "or", "", " or_", 1, True, [], {}, ["or_"]]),
    *each("sort", lambda value: {"sort": value, "limit": 7}, ["NAME_ASC", "NAME_DESC", "CREATED_DESC", "UPDATED_DESC",
        None, "name_asc", "CREATED_ASC", "UPDATED_ASC", "", 1, True, [], {}, "NAME_ASC "]),
    *each("state_type", lambda value: {"flow_runs": {"state": {"type": {"any_": ["FAILED", value]}}}}, ["COMPLETED",
        "completed", "Completed", "", "LATE", 1, None, [], {}, True]),
]

# --- filter objects

NO_FILTERS: list[Any] = [None, {}, [], "x", 1, True, [{}], {"bogus": None}, {"operator": "or_"}]
SHAPES = [
    *(ask(f"{key}={value}", {key: value})
        for key in ("flows", "flow_runs", "task_runs", "deployments", "work_pools", "work_pool_queues")
        for value in NO_FILTERS),
    *each("group", lambda value: {"deployments": {"name": value}}, [None, {}, [], "x", 1, False, {"any_": None},
        {"x": {}}]),
    *each("state_leaf", lambda value: {"flow_runs": {"state": {"type": value}}}, [None, {}, [], "FAILED", 1,
        {"operator": "or_"}]),
]

# --- several errors: operator first, then the declared fields, then unknown keys as they came

ERRORS = [
    ask("errors_in_order", {"deployments": {"zzz": 1, "operator": "x", "tags": {"any_": 1, "operator": "y", "bad": 2,
        "all_": ["a", 1]}}, "sort": "s", "flows": {"operator": 3}, "offset": "q", "limit": []}),
    ask("errors_everywhere", {key: {"operator": 0, "id": {"any_": [1]}, "name": 3, "zz": 0, "aa": 0}
        for key in ("work_pool_queues", "work_pools", "deployments", "task_runs", "flow_runs", "flows")}),
    ask("errors_in_one_group", {"flow_runs": {"id": {"x": 1, "not_any_": ["q", 1], "any_": [None, "w"], "a": 2}}}),
    ask("errors_in_state", {"flow_runs": {"state": {"name": {"not_any_": [1], "any_": "x"},
        "type": {"not_any_": ["x"], "any_": ["y"]}, "operator": "", "extra": 1}}}),
    ask("errors_in_times", {"flow_runs": {"end_time": {"after_": [], "before_": {}, "is_null_": "maybe"}}},
        compare="types"),
    ask("errors_in_ignored_group", {"deployments": {"concurrency_limit": {"is_null_": 2, "le_": "x", "ge_": [],
        "operator": "and_"}}}),
    ask("errors_in_owner", {"task_runs": {"flow_run_id": {"is_null_": "x", "any_": [1], "operator": None,
        "not_any_": []}}}),
    ask("errors_in_author", {"flow_runs": {"created_by": {"type_": [1], "id_": ["x"], "is_null_": [], "any_": []}}}),
    ask("errors_with_wide_text", {"deployments": {"ünï😀": "\u2028", "name": {"like_": ["é", {"a": 1.0, "b": 1e-7,
        "c": 10**20}]}}}),
    ask("errors_echo_numbers", {"deployments": {"name": {"like_": [1e-7, 1e16, 1e22, 0.00001, 123456789.123, -0.0,
        1.0, 2**64]}}}),
    ask("errors_echo_unknown_keys", {"x": [1, {"y": None}], "deployments": 1, "": ""}),
    ask("errors_on_count", {"limit": "x", "deployments": {"a": 1}, "flows": {"b": 2}}, COUNT),
    ask("errors_on_paginate", {"page": 0, "deployments": {"a": 1}, "sort": "x", "work_pool_queues": 0}, PAGE),
    *(ask(f"forbidden_{key}_{group}", {key: {group: body}}) for key, group, body in (("deployments",
        "is_schedule_active", {"eq_": True}), ("deployments", "status", {"any_": ["READY"]}), ("deployments",
        "work_queue_id", {"any_": [queue(1)]}), ("deployments", "flow_id", {"any_": [flow(1)]}), ("deployments",
        "schedules", {}), ("deployments", "created_by", {}), ("deployments", "work_queue_name", {"is_null_": True}),
        ("deployments", "name", {"operator": "or_", "like_": "x"}), ("deployments", "name", {"not_any_": []}),
        ("deployments", "paused", {"is_null_": True}), ("deployments", "id", {"operator": "and_"}), ("flows", "tags",
        {"any_": ["etl"]}), ("flows", "id", {"operator": "or_"}), ("flows", "deployment", {"any_": []}),
        ("flow_runs", "expected_start_time", {"is_null_": True}), ("flow_runs", "next_scheduled_start_time",
        {"is_null_": True}), ("flow_runs", "created_by", {"any_": ["x"]}), ("flow_runs", "parent_flow_run_id",
        {"is_null_": True}), ("flow_runs", "idempotency_key", {"like_": "k"}), ("flow_runs", "flow_version",
        {"operator": "and_"}), ("flow_runs", "work_queue_name", {"not_any_": []}), ("flow_runs", "flow_id", {}),
        ("task_runs", "id", {"not_any_": []}), ("task_runs", "tags", {"any_": []}), ("task_runs", "state",
        {"type": {"not_any_": ["FAILED"]}}), ("task_runs", "subflow_runs", {"is_null_": True}), ("task_runs",
        "expected_start_time", {"is_null_": True}), ("work_pools", "id", {"operator": "and_", "any_": []}),
        ("work_pools", "name", {"like_": "x"}), ("work_pools", "status", {}), ("work_pool_queues", "name",
        {"like_": "x"}), ("work_pool_queues", "work_pool_id", {}))),
]

CASES = (INTEGERS, BOOLEANS, STRINGS, UUIDS, INSTANTS, ENUMS, SHAPES, ERRORS)
