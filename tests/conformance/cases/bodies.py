"""What counts as a body: JSON in any encoding, what is malformed, and which content types are read at all."""

from tests.conformance.asking import COUNT, SEARCHES, ask, raw, sent

# fmt: off
# The tables are laid out by hand.

# --- the body: what counts as JSON, and what is no body at all

BODY = [
    *(raw(f"no_body{path[16:]}", None, path) for path in SEARCHES),
    *(ask(f"empty_object{path[16:]}", {}, path) for path in SEARCHES),
    *(sent(f"null_body{path[16:]}", b"null", path) for path in SEARCHES),
    *(sent(f"{name}_body{path[16:]}", text, path) for path in SEARCHES for name, text in {"array": b"[]",
        "object_in_array": b"[{}]", "string": b'"x"', "number": b"7", "zero": b"0", "true": b"true",
        "false": b"false", "empty_string": b'""'}.items()),
    sent("no_body_with_json_type", None),
    raw("no_body_with_text_type", None, content_type="text/plain"),
    sent("blank_body", b"  "),
    sent("padded_body", b' \r\n\t{"limit" : 1}\n '),
    ask("unknown_top_level_keys", {"bogus": {"any_": [float(0)]}, "page": 99, "limit": 3}),
    ask("old_work_queues_key_ignored", {"work_queues": {"id": {"any_": []}}, "limit": 3}),
    ask("python_client_nulls", {"flows": None, "flow_runs": None, "task_runs": None, "deployments": None,
        "work_pools": None, "work_pool_queues": None, "limit": None, "offset": 0, "sort": None}),
    sent("duplicate_keys_last_wins", b'{"limit":1,"limit":2}'),
    sent("duplicate_keys_last_is_bad", b'{"limit":1,"limit":"x"}'),
    sent("duplicate_filters_last_wins", b'{"deployments":{"name":{"any_":["daily"]},"name":{"any_":["zeta"]}}}'),
    sent("duplicate_bad_then_good", b'{"offset":"x","offset":1}'),
    sent("duplicate_keys_keep_first_place", b'{"deployments":{"b":1,"a":2,"b":3}}'),
    sent("nan_in_an_ignored_key", b'{"bogus":NaN,"limit":1}'),
    sent("infinity_in_an_ignored_key", b'{"bogus":[-Infinity,1e400],"limit":1}'),
    sent("surrogate_in_an_ignored_key", rb'{"bogus":"\ud800","limit":1}'),
    sent("surrogate_pair_is_a_character", rb'{"deployments":{"name":{"like_":"\ud83d\ude00"}}}'),
    sent("nul_in_an_ignored_key", rb'{"bo\u0000gus":"\u0000","limit":1}'),
    sent("nul_in_an_unknown_filter_key", rb'{"deployments":{"a\u0000":"\u0000"}}'),
]

# --- malformed JSON: the place of the error is counted in characters

MALFORMED = [sent(f"malformed_{name}", text) for name, text in {"cut_value": b'{"limit":', "cut_object": b"{",
    "cut_array": b"[", "cut_key": b'{"limit', "no_colon": b'{"limit" 1}', "trailing_garbage": b'{"limit":1}garbage',
    "two_values": b"{} {}", "trailing_comma": b'{"limit":1,}', "trailing_comma_in_array": b'{"a":[1,]}',
    "single_quotes": b"{'limit':1}", "bare_word": b"limit", "comment": b"{}//x", "missing_comma": b'{"a":1 "b":2}',
    "bare_key": b"{limit:1}", "leading_zero": b'{"limit":01}', "plus_sign": b'{"limit":+1}',
    "lone_minus": b'{"limit":-}', "dot_without_digits": b'{"limit":1.}', "hex": b'{"limit":0x1}',
    "bad_escape": rb'{"a":"\x"}', "short_escape": rb'{"a":"\u12"}', "raw_newline_in_string": b'{"a":"\n"}',
    "raw_tab_in_string": b'{"a":"\t"}', "place_after_wide_characters": '{"a":"é☃😀",}'.encode(),
    "place_on_the_second_line": b'{\n "a": 1,\n b}', "upper_case_true": b'{"a":True}',
    "control_at_the_start": b"\x01{}", "unclosed_string": b'{"a":"b', "closing_only": b"}",
    "empty_element": b"[1,,2]", "nan_misspelt": b'{"a":nan}'}.items()]

ENCODED = [
    *(sent(f"encoded_{codec}", '{"limit":2,"deployments":{"name":{"like_":"É"}}}'.encode(codec))
        for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")),
    raw("latin_1_charset_is_ignored", '{"deployments":{"name":{"like_":"É"}}}'.encode(),
        content_type="application/json; charset=latin-1"),
    sent("latin_1_bytes", '{"deployments":{"name":{"like_":"É"}}}'.encode("latin-1")),
    sent("invalid_utf8", b'{"deployments":{"name":{"like_":"\xff\xfe"}}}'),
    sent("cut_utf8", b'{"deployments":{"name":{"like_":"\xc3"}}}'),
    sent("overlong_utf8", b'{"a":"\xc0\xaf"}'),
    sent("surrogate_in_utf8", b'{"a":"\xed\xa0\x80"}'),
    sent("utf8_bom_and_malformed", b"\xef\xbb\xbf{"),
    sent("odd_utf16", '{"limit":1}'.encode("utf-16")[:-1]),
    sent("deep_arrays", b"[" * 100_000),
    sent("deep_objects", b'{"a":' * 100_000),
    sent("nested_within_reason", b'{"bogus":' + b"[" * 400 + b"]" * 400 + b',"limit":1}'),
    sent("integer_of_4300_digits", b'{"bogus":' + b"7" * 4300 + b',"limit":1}'),
    sent("integer_of_4301_digits", b'{"bogus":' + b"7" * 4301 + b',"limit":1}'),
]

# --- content types: JSON or `+json` is read, no header is read, anything else is as good as no body

ONE_ROW = b'{"limit":1}'

TYPES = [
    *(raw(f"content_type={kind}", ONE_ROW, content_type=kind) for kind in ("application/json", "APPLICATION/JSON",
        "application/json; charset=utf-8", "application/json;charset=utf-16", "application/json;",
        "application/vnd.api+json", "application/problem+JSON; x=y", "application/+json", "text/plain", "text/json",
        "text/x+json", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x",
        "application/jsonx", "application/json-x", "application/x-json", "json", "garbage", "*/*", "/", "", " ",
        "application/json, text/plain", "application/msgpack", " application/json", "application /json",
        "application/ json")),
    raw("content_type_missing", ONE_ROW),
    raw("content_type_missing_and_malformed", b"{"),
    raw("content_type_missing_and_chunked", ONE_ROW, transfer_encoding="chunked"),
    sent("chunked_json", ONE_ROW, transfer_encoding="chunked"),
    sent("chunked_nothing", b"", transfer_encoding="chunked"),
    raw("text_body_is_not_even_parsed", b"{{{", content_type="text/plain"),
    raw("text_body_on_count", b"[]", COUNT, content_type="text/plain"),
]

CASES = (BODY, MALFORMED, ENCODED, TYPES)
