"""What comes back: order, pages, and every kind of row byte for byte."""

from tests.conformance.asking import FILTER, PAGE, ask, dep, get

# fmt: off
# The tables are laid out by hand.

# --- sort, limit, offset, page

PAGES = [
    *(ask(f"{sort}_{path[17:]}_{first}", {"sort": sort, "limit": 5, place: first}, path) for sort in ("NAME_ASC",
        "NAME_DESC", "CREATED_DESC", "UPDATED_DESC") for path, place, firsts in ((FILTER, "offset", (0, 1, 4, 40)),
        (PAGE, "page", (1, 2, 9))) for first in firsts),
    *(ask(f"whole_{sort}", {"sort": sort}) for sort in ("NAME_ASC", "NAME_DESC", "CREATED_DESC", "UPDATED_DESC")),
    ask("offset_past_the_end", {"offset": 43}),
    ask("page_past_the_end", {"page": 99, "limit": 5}, PAGE),
    ask("page_of_nothing", {"limit": 0, "page": 2}, PAGE),
    ask("page_without_match", {"limit": 3, "deployments": {"name": {"any_": ["nope"]}}}, PAGE),
    ask("page_exactly_full", {"limit": 43, "page": 1}, PAGE),
    ask("page_defaults", {}, PAGE),
    ask("page_null", {"page": None, "limit": None, "sort": None}, PAGE),
]

# --- one row, byte for byte; long numbers and floats included

ROWS = [
    *(get(f"row_{number}", dep(number), "rows" if number == 36 else "bytes") for number in range(1, 44)),
    get("row_without_some_dashes", "00000de900004000-8000000000000001"),
    get("row_in_upper_case", "00000DE9000040008000000000000001"),
    get("row_with_query", f"{dep(1)}?limit=x&a"),
    get("row_unknown", dep(99)),
    get("row_word", "not-a-uuid"),
    get("row_in_braces", f"%7B{dep(1)}%7D"),
    get("row_urn", f"urn:uuid:{dep(1)}"),
    get("row_percent_encoded", f"%30{dep(1)[1:]}"),
    get("row_too_long", f"{dep(1)}0"),
    get("row_too_short", dep(1)[:-1]),
    get("row_dash_elsewhere", "00000de9-0000-4000-80000-00000000001"),
    get("row_double_dash", f"{dep(1)[:9]}-{dep(1)[9:]}"),
    get("row_padded", f"%20{dep(1)}"),
    get("row_newline", f"{dep(1)}%0A"),
    get("row_with_body_type", dep(1), content_type="text/plain"),
    ask("rows_of_numbers", {"deployments": {"id": {"any_": [dep(31)]}}}, compare="bytes"),
    ask("page_of_texts", {"deployments": {"id": {"any_": [dep(32)]}}}, PAGE, compare="bytes"),
]

# --- by name

NAMES = [
    *(get(f"name_{name}", f"name/{tail}") for name, tail in {"plain": "alpha-etl/daily", "case": "Alpha-etl/daily",
        "other_case": "alpha-etl/Daily", "blank": "Marvin%20Flow/daily", "plus": "Marvin+Flow/daily",
        "wide": "percentX100/%C3%89clair%20%C3%BCn%C3%AFcode%20%E2%98%83", "slash": "alpha-etl/a%2Fb",
        "slash_in_flow": "sub%2Fflow/sub%2Fname", "percent": "fifty%25off/a%25b", "raw_percent": "fifty%off/a%b",
        "backslash": "fifty%25off/back%5Cslash",
        "emoji": "%F0%9F%9A%80%20Gr%C3%B6%C3%9Fe%20%CE%A3%CE%91%CE%A3/%F0%9F%98%80%20%F0%9D%94%98%20%EF%AC%81",
        "quotes": "it's%20%22q%5Cb%22/it's%20%22q%5Cb%22", "padded": "%20padded%20/%20padded%20",
        "trimmed": "padded/padded", "dots": "alpha-etl/%2E%2E", "single_dot": "alpha-etl/%2E",
        "query": "alpha-etl/daily?x=1", "encoded_question": "alpha-etl/daily%3Fx",
        "encoded_letters": "%61lpha-etl/d%61ily",
        "lower_hex": "percentX100/%c3%89clair%20%c3%bcn%c3%afcode%20%e2%98%83", "no_flow": "nope/daily",
        "no_deployment": "alpha-etl/nope", "invalid_utf8": "alpha-etl/%FF", "cut_utf8": "alpha-etl/%C3",
        "semicolon": "alpha-etl;x/daily", "three_parts": "alpha-etl/daily/x", "one_part": "alpha-etl",
        "empty_flow": "/daily", "empty_deployment": "alpha-etl/", "both_empty": "/",
        "double_encoded": "alpha-etl/d%2561ily", "wildcard": "percent_100/a_b", "no_wildcard": "percentX100/a_b",
        "bad_escape": "alpha-etl/%zz", "tab": "alpha-etl/%09daily", "newline": "alpha-etl/daily%0A",
        "del": "alpha-etl/%7F", "hash": "alpha-etl/daily%23", "colon": "alpha-etl/da:ily",
        "uuid": dep(1) + "/" + dep(1), "filter": "name/filter"}.items()),
    get("name_alone", "name"),
    get("name_alone_slash", "name/"),
]

CASES = (PAGES, ROWS, NAMES)
