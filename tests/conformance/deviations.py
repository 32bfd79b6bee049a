"""Where Classis answers otherwise than Prefect, on purpose: each request, what Prefect says, what we say, and why.

Most are mistakes of the client that Prefect lets through to its database (503) or cannot write down (500). Prefect's
own client retries a 503, so a mistake must not look like one.
"""

import json
from dataclasses import dataclass

from tests.conformance.asking import API, COUNT, FILTER, PAGE, dep, get, plain, sent
from tests.conformance.wire import Request


@dataclass(frozen=True)
class Deviation:
    name: str
    request: Request
    theirs: int
    ours: int
    problem: bool = False  # our body must then be a list of validation errors


def _asked(name: str, theirs: int, text: str, path: str = FILTER) -> Deviation:
    """A search that we refuse as a mistake, in the shape of any other validation error."""
    return Deviation(name, sent(name, text.encode(), path).request, theirs, 422, problem=True)


def _time(name: str, theirs: int, value: str) -> Deviation:
    return _asked(name, theirs, _leg("flow_runs", "expected_start_time", "after_", value), COUNT)


def _leg(entity: str, group: str, term: str, value: str) -> str:
    return f'{{"{entity}":{{"{group}":{{"{term}":{value}}}}}}}'


# PostgreSQL has no NUL in text, and UTF-8 no lone surrogate.
UNSTORABLE = [
    _asked(
        f"{word}_in_{entity}_{group}_{term}", 503, _leg(entity, group, term, json if term == "like_" else f"[{json}]")
    )
    for word, json in (("nul", r'"a\u0000b"'), ("surrogate", r'"\ud800"'), ("lone_low_surrogate", r'"x\udc00"'))
    for entity, group, term in (
        ("deployments", "name", "like_"),
        ("deployments", "name", "any_"),
        ("deployments", "flow_or_deployment_name", "like_"),
        ("deployments", "tags", "all_"),
        ("deployments", "tags", "any_"),
        ("flows", "name", "any_"),
        ("flow_runs", "idempotency_key", "not_any_"),
        ("flow_runs", "created_by", "type_"),
        ("task_runs", "name", "like_"),
        ("work_pools", "type", "any_"),
        ("work_pool_queues", "name", "startswith_"),
    )
]

# Prefect finds these errors and then cannot write them down.
UNWRITABLE = [
    _asked("nan_limit", 500, '{"limit":NaN}'),
    _asked("infinite_offset", 500, '{"offset":Infinity}'),
    _asked("overflowing_page", 500, '{"page":1e400}', PAGE),
    _asked("nan_flag", 500, _leg("deployments", "paused", "eq_", "NaN")),
    _asked("nan_text", 500, _leg("deployments", "name", "like_", "NaN")),
    _asked("nan_list", 500, _leg("deployments", "name", "any_", "-Infinity")),
    _asked("nan_bound", 500, _leg("deployments", "concurrency_limit", "ge_", "NaN")),
    _asked("nan_filter", 500, '{"deployments":NaN}'),
    _asked("nan_under_an_unknown_key", 500, '{"deployments":{"x":NaN}}'),
    _asked("nan_sort", 500, '{"sort":NaN}'),
    _time("nan_instant", 500, "NaN"),
    _time("overflowing_instant", 500, "1e400"),
    _asked("nan_beside_an_error", 500, '{"offset":-1,"bogus":NaN}'),
    _asked("surrogate_uuid", 500, _leg("deployments", "id", "any_", r'["\ud800"]')),
    _asked("surrogate_operator", 500, r'{"deployments":{"operator":"\udfff"}}'),
    _asked("surrogate_beside_an_error", 500, r'{"offset":-1,"bogus":"\ud800"}'),
]

# bigint ends at 2^63 - 1; Prefect's statement ends at it too.
TOO_FAR = [
    _asked("offset_2_63", 503, f'{{"offset":{2**63}}}'),
    _asked("offset_10_30", 503, f'{{"offset":{10**30}}}'),
    _asked("offset_text", 503, f'{{"offset":"{2**63}"}}'),
    _asked("page_far_out", 503, f'{{"page":{2**62},"limit":200}}', PAGE),
    _asked("page_10_30", 503, f'{{"page":{10**30},"limit":1}}', PAGE),
]

# Instants that leave the years 1 to 9999 in UTC, and forms of ISO 8601 that only old Pythons read.
LOOSE = {
    "hour_zone": "2024-05-04T00:00:00+02",
    "basic": "20240504T000000Z",
    "week_date": "2024-W18-6",
    "ordinal_date": "2024-125",
    "month": "2024-05",
    "slashes": "2024/05/04",
    "hour_only": "2024-05-04T00",
    "time_alone": "10:30",
    "now": "now",
}
NO_SUCH_TIME = [
    _time("before_year_1", 503, '"0001-01-01T00:00:00+05:00"'),
    _time("after_year_9999", 503, '"9999-12-31T23:59:59-01:00"'),
    _time("offset_of_a_day", 503, '"2024-05-04T00:00:00+24:00"'),
    *(_time(f"loose_{name}", 200, f'"{text}"') for name, text in LOOSE.items()),
]

MANY = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(40_000)]


def _long(name: str, path: str, entity: str, group: str, values: list[str]) -> Deviation:
    """Each item is a bind parameter in Prefect, and the protocol counts to 32767; here a list is one array."""
    body = json.dumps({entity: {group: {"any_": values}}}).encode()
    return Deviation(name, sent(name, body, path).request, 503, 200)


LONG_LISTS = [
    _long("long_list_of_deployments", COUNT, "deployments", "id", [*MANY, dep(1)]),
    _long("long_list_of_runs", FILTER, "flow_runs", "id", MANY),
    _long("long_list_of_tasks", PAGE, "task_runs", "name", MANY),
    _long("long_list_of_queues", COUNT, "work_pool_queues", "id", MANY),
]

BY_NAME = [
    Deviation(f"nul_{place}", get(place, f"name/{tail}").request, 503, 422)
    for place, tail in (("in_the_flow", "%00/x"), ("in_the_deployment", "alpha-etl/a%00"))
]

# A word that no standard calls a method is refused by our HTTP parser before it is routed.
STRANGE = [Deviation("strange_method", plain("strange_method", "FOO", FILTER).request, 405, 400)]

# Prefect's row has four methods and its error names the first one registered; here a row can only be read.
METHODS = [
    Deviation(f"{method}_row", plain(method, method, f"{API}/{dep(1)}").request, 405, 405)
    for method in ("HEAD", "POST", "PUT", "OPTIONS")
]

DEVIATIONS = [*UNSTORABLE, *UNWRITABLE, *TOO_FAR, *NO_SUCH_TIME, *LONG_LISTS, *BY_NAME, *STRANGE]
