"""Around the body: routes, methods, the version header, gzip, cross-origin; and what Prefect's own interfaces send."""

import json

from tests.conformance.asking import (
    API,
    COUNT,
    FILTER,
    PAGE,
    SEARCHES,
    ask,
    dep,
    flow,
    get,
    plain,
    raw,
    run,
    sent,
)

# fmt: off
# The tables are laid out by hand.

# --- routes and methods

ROUTES = [
    *(plain(f"{method}{path[16:]}", method, path) for path in SEARCHES for method in ("GET", "HEAD", "PUT", "PATCH",
        "DELETE", "OPTIONS", "TRACE")),
    *(plain(f"{method}_name", method, f"{API}/name/alpha-etl/daily") for method in ("HEAD", "POST", "PUT", "PATCH",
        "DELETE", "OPTIONS")),
    *(plain(f"{method}_unknown", method, f"{API}/nope") for method in ("GET", "POST", "HEAD", "DELETE", "OPTIONS")),
    *(plain(f"{method}_outside", method, "/nope") for method in ("GET", "POST", "HEAD")),
    *(plain(f"slash_{name}", method, path) for name, method, path in (("filter", "POST", f"{FILTER}/"), ("paginate",
        "POST", f"{PAGE}/"), ("count", "POST", f"{COUNT}/"), ("row", "GET", f"{API}/{dep(1)}/"), ("by_name", "GET",
        f"{API}/name/alpha-etl/daily/"), ("query", "POST", f"{FILTER}/?a=b&c"), ("get_filter", "GET", f"{FILTER}/"),
        ("twice", "POST", f"{FILTER}//"), ("unknown", "POST", f"{API}/nope/"), ("wide", "GET",
        f"{API}/name/Marvin%20Flow/%C3%A9/"))),
    ask("query_is_ignored", {"limit": 3}, f"{FILTER}?limit=1&sort=x"),
    ask("path_case", {}, f"{API}/Filter"),
    ask("api_case", {}, "/API/deployments/filter"),
    ask("double_slash", {}, "/api//deployments/filter"),
    ask("encoded_path", {"limit": 1}, "/api/deployments/%66ilter"),
    ask("encoded_slash", {}, "/api/deployments%2Ffilter"),
    ask("below_filter", {}, f"{FILTER}/x"),
    ask("without_api", {}, "/deployments/filter"),
    plain("health", "GET", "/api/health"),
    plain("ready", "GET", "/api/ready"),
    plain("version", "GET", "/api/version"),
]

# --- the version header

VERSIONS = [
    *(raw(f"version={text!r}", None, COUNT, x_prefect_api_version=text) for text in ("0.8.4", "0.8.0", "0.7.9", "0.8",
        "0.8.0.1", "99.0.0", "1.0.0", "0.10.0", "0.08.0", "abc", "a.b.c", "", " ", "0.8.x", "0.8.-1", "0.-8.0",
        "+0.+8.+0", "-1.0.0", "0_0.8.0", "0. 8 .0", "0.8.", ".8.0", "..", "0.8.0\n0.1.0", "0.1.0\n0.8.0", "v0.8.4",
        "0,8,4", "0.8.4rc1", "é.8.0", "٠.8.0", "1e1.0.0", "0.8.0 ", "0x1.0.0", "1" * 50 + ".0.0")),
    sent("version_old_but_bad_json", b"{bad", x_prefect_api_version="0.1.0"),
    ask("version_old_and_bad_types", {"limit": "x"}, x_prefect_api_version="0.1.0"),
    ask("version_old_and_bad_limit", {"limit": 999}, x_prefect_api_version="0.1.0"),
    sent("version_old_and_undecodable", b'{"a":"\xff"}', x_prefect_api_version="0.1.0"),
    ask("version_old_on_unknown_route", {}, f"{API}/nope", x_prefect_api_version="0.1.0"),
    ask("version_upper_case_header", {"limit": 1}, X_PREFECT_API_VERSION="0.8.4"),
    *(plain(f"version_old_{name}", "GET", path, x_prefect_api_version="0.1.0") for name, path in (("row",
        f"{API}/{dep(1)}"), ("unknown_row", f"{API}/{dep(99)}"), ("by_name", f"{API}/name/alpha-etl/daily"),
        ("filter", FILTER), ("health", "/api/health"), ("version", "/api/version"), ("ready", "/api/ready"))),
]

# --- gzip from 500 bytes on, and cross-origin headers

SMALL, LARGE = {"limit": 0}, {"deployments": {"id": {"any_": [dep(12)]}}}

ENVELOPE = [
    *(ask(f"gzip_{kind!r}_{name}", body, accept_encoding=kind) for name, body in (("small", SMALL), ("large", LARGE),
        ("error", {"x" * 500: 1, "limit": "x"})) for kind in ("gzip", "gzip, deflate", "gzip;q=0",
        "identity, gzip;q=0.1", "GZIP", "*", "deflate", "br", "identity", "xgzipx", "")),
    ask("gzip_not_asked", LARGE),
    get("gzip_row", dep(12), accept_encoding="gzip"),
    get("gzip_unknown_row", dep(99), accept_encoding="gzip"),
    *(sent(f"gzip_around_500_bytes_{size}", json.dumps({"offset": -1, "x": "y" * size}).encode(),
        accept_encoding="gzip") for size in range(225, 300, 5)),
    *(ask(f"origin_{name}", body, origin="http://example.com") for name, body in (("small", SMALL), ("large", LARGE),
        ("error", {"limit": "x"}), ("range", {"limit": 201}))),
    sent("origin_bad_json", b"{", origin="http://example.com"),
    raw("origin_old_version", None, origin="null", x_prefect_api_version="0.1.0"),
    get("origin_row", dep(1), origin="http://example.com"),
    get("origin_row_with_cookie", dep(1), origin="http://example.com", cookie="a=b"),
    get("origin_unknown_row", dep(99), origin="http://example.com"),
    get("origin_unknown_route", "nope", origin="http://example.com"),
    get("origin_wrong_method", "filter", origin="http://example.com"),
    plain("origin_slash", "POST", f"{FILTER}/", origin="http://example.com"),
    plain("origin_outside", "GET", "/nope", origin="http://example.com"),
    get("origin_and_gzip", dep(1), origin="http://example.com", accept_encoding="gzip"),
    *(plain(f"preflight_{name}", "OPTIONS", path, headers={"origin": "http://example.com", **headers}) for name, path,
        headers in (("post", FILTER, {"access_control_request_method": "POST"}), ("get", FILTER,
        {"access_control_request_method": "GET"}), ("delete", f"{API}/{dep(1)}",
        {"access_control_request_method": "DELETE"}), ("unknown_path", "/api/nope",
        {"access_control_request_method": "PUT"}), ("outside", "/nope", {"access_control_request_method": "POST"}),
        ("bad_method", FILTER, {"access_control_request_method": "FOO"}), ("lower_method", FILTER,
        {"access_control_request_method": "post"}), ("empty_method", FILTER, {"access_control_request_method": ""}),
        ("headers", FILTER, {"access_control_request_method": "POST",
        "access_control_request_headers": "content-type, X-Custom"}), ("empty_headers", FILTER,
        {"access_control_request_method": "POST", "access_control_request_headers": ""}), ("bad_method_and_headers",
        FILTER, {"access_control_request_method": "FOO", "access_control_request_headers": "x-a"}),
        ("private_network", FILTER, {"access_control_request_method": "POST",
        "access_control_request_private_network": "true"}), ("without_method", FILTER, {}), ("without_method_on_row",
        f"{API}/name/a/b", {}))),
    plain("preflight_without_origin", "OPTIONS", FILTER, access_control_request_method="POST"),
]

# --- what Prefect's own interfaces send

_UI = {"operator": "and_", "flow_or_deployment_name": {"like_": ""}, "tags": {"operator": "and_", "all_": []}}

TRAFFIC = [
    ask("ui_page", {"page": 1, "limit": 10, "sort": "NAME_ASC", "deployments": _UI}, PAGE),
    ask("ui_filter", {"offset": 0, "sort": "NAME_ASC", "deployments": _UI, "limit": 10}),
    ask("ui_count", {"offset": 0, "sort": "NAME_ASC", "deployments": _UI}, COUNT),
    ask("ui_count_plain", {"offset": 0, "sort": "NAME_ASC"}, COUNT),
    ask("ui_page_search", {"page": 1, "limit": 10, "sort": "NAME_ASC", "deployments": {**_UI,
        "flow_or_deployment_name": {"like_": "ETL"}, "tags": {"operator": "and_", "all_": ["prod"]}}}, PAGE),
    ask("ui_flow_tab", {"sort": "NAME_ASC", "page": 1, "limit": 10, "flows": {"operator": "and_",
        "id": {"any_": [flow(2)]}}, "deployments": {**_UI, "flow_or_deployment_name": {}}}, PAGE),
    ask("ui_pool_tab", {"page": 1, "limit": 50, "sort": "CREATED_DESC", "work_pools": {"operator": "and_",
        "name": {"any_": ["pool-b"]}}, "deployments": _UI}, PAGE),
    ask("ui_pool_count", {"offset": 0, "sort": "CREATED_DESC", "work_pools": {"operator": "and_",
        "name": {"any_": ["pool-b"]}}}, COUNT),
    ask("ui_action_picker", {"page": 1, "sort": "NAME_ASC", "deployments": {"operator": "or_",
        "flow_or_deployment_name": {"like_": ""}}}, PAGE),
    ask("ui_dashboard", {"deployments": {"operator": "and_", "id": {"any_": [dep(1), dep(3), dep(99)]}}, "offset": 0,
        "sort": "CREATED_DESC"}),
    ask("ui_picker_search", {"deployments": {"operator": "and_", "name": {"like_": "da"}}, "limit": 100, "offset": 0,
        "sort": "NAME_ASC"}),
    ask("old_ui_page", {"page": 1, "limit": 10, "sort": "NAME_ASC"}, PAGE),
    ask("client_all_keys", {"flows": {"operator": "and_", "id": None, "name": {"any_": None, "like_": "alpha"},
        "tags": None}, "flow_runs": {"id": {"any_": [run(1)]}}, "task_runs": {"operator": "and_", "id": None,
        "name": {"any_": ["extract-1"], "like_": None}, "tags": None, "state": None, "start_time": None,
        "end_time": None, "subflow_runs": None, "flow_run_id": None}, "deployments": {"operator": "and_", "id": None,
        "name": {"any_": ["daily"], "like_": None}, "tags": None, "work_queue_name": None,
        "concurrency_limit": None}, "work_pools": {"operator": "and_", "id": None, "name": {"any_": ["pool-a"]},
        "type": None}, "work_pool_queues": {"operator": "and_", "id": None, "name": {"any_": None,
        "startswith_": ["Mar"]}}, "limit": 5, "offset": 0, "sort": "NAME_DESC"}, x_prefect_api_version="0.8.4",
        user_agent="prefect/3.8.8 (API 0.8.4)", accept="*/*", accept_encoding="gzip, deflate"),
    plain("client_csrf_token", "GET", "/api/csrf-token?client=00000000-0000-4000-8000-000000000000"),
]

CASES = (ROUTES, VERSIONS, ENVELOPE, TRAFFIC)
