"""What is stored, as it is printed."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from asyncpg.pgproto import pgproto

from services.deployments import rows


@pytest.mark.parametrize(
    ("stored", "printed"),
    [
        ('{"a": 1, "bb": [1, 2.50, null, true]}', '{"a":1,"bb":[1,2.5,null,true]}'),
        ("{}", "{}"),
        ("[]", "[]"),
        ('{"n": 12345678901234567890123}', '{"n":12345678901234567890123}'),
        ('{"n": 12345678901234567890123, "f": 1.0}', '{"n":12345678901234567890123,"f":1.0}'),
        ('{"f": 0.0000001}', '{"f":1e-7}'),
        ('{"f": 0.00001, "g": -123456789012345678901234567890.5}', '{"f":0.00001,"g":-1.2345678901234568e+29}'),
        ('[10000000000000000.0, 1000000000000000.0]', "[1e+16,1000000000000000.0]"),
        (f'{{"f": {"9" * 400}.5}}', '{"f":null}'),
        (f'{{"f": 1.5, "n": {"9" * 5000}}}', f'{{"f":1.5,"n":{"9" * 5000}}}'),
        ('{"t": "3.11, \\u001f \\" é ☃  "}', '{"t":"3.11, \\u001f \\" é ☃  "}'),
        ('{"t": "no blanks : , lost"}', '{"t":"no blanks : , lost"}'),
        ("1.50", "1.5"),
        ("-1.50", "-1.5"),
        ("[1.50]", "[1.5]"),
        ("[[1.50], 2.50]", "[[1.5],2.5]"),
        ('{"f": {"g": 1.50}}', '{"f":{"g":1.5}}'),
        ('"1.50"', '"1.50"'),
        ('["1.50"]', '["1.50"]'),
        ('"1.50]"', '"1.50]"'),
        ('{"t": "[1.50], {2.50}, 3.50", "f": 4.50}', '{"t":"[1.50], {2.50}, 3.50","f":4.5}'),
        ('{"1.50": "2.50", "t": "\\\\", "f": 3.50, "u": "\\""}', '{"1.50":"2.50","t":"\\\\","f":3.5,"u":"\\""}'),
        ('"a b"', '"a b"'),
    ],
)  # fmt: skip
def test_json_is_passed_on_compactly_and_floats_are_64_bit(stored: str, printed: str) -> None:
    assert msgspec.json.encode(rows.passed(stored)).decode() == printed


def timing(stored: str) -> Any:
    return msgspec.json.decode(msgspec.json.encode(rows._rebuilt(stored, rows._timing)))


@pytest.mark.parametrize(
    ("stored", "printed"),
    [
        ('{"interval": 3600, "anchor_date": "2024-01-01T00:00:00+00:00", "timezone": null}',
         {"interval": 3600.0, "anchor_date": "2024-01-01T00:00:00Z", "timezone": "UTC"}),
        ('{"timezone": "", "anchor_date": "2024-01-01T00:00:00+02:00", "interval": "PT1H"}',
         {"interval": 3600.0, "anchor_date": "2024-01-01T00:00:00+02:00", "timezone": ""}),
        ('{"anchor_date": "2024-01-01", "interval": "01:00:00.5"}',
         {"interval": 3600.5, "anchor_date": "2024-01-01T00:00:00Z", "timezone": "UTC"}),
        ('{"cron": "@daily"}', {"cron": "@daily", "timezone": None, "day_or": True}),
        ('{"day_or": false, "timezone": "UTC", "cron": "* * * * *"}',
         {"cron": "* * * * *", "timezone": "UTC", "day_or": False}),
        ('{"rrule": "FREQ=DAILY"}', {"rrule": "FREQ=DAILY", "timezone": "UTC"}),
        ('{"rrule": "FREQ=DAILY", "timezone": null}', {"rrule": "FREQ=DAILY", "timezone": None}),
        ('{"odd": [1]}', {"odd": [1]}),
        ("null", None),
    ],
)  # fmt: skip
def test_a_schedule_is_rebuilt_in_its_order_with_its_defaults(stored: str, printed: Any) -> None:
    found = timing(stored)
    assert found == printed
    assert printed is None or list(found) == list(printed)


def test_an_interval_without_an_anchor_is_anchored_now() -> None:
    before = datetime.now(UTC)
    anchor = datetime.fromisoformat(timing('{"interval": 60}')["anchor_date"])
    assert before <= anchor <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("stored", "lasting"),
    [
        ('{"interval": 60}', False),
        ('{"interval": 60, "anchor_date": null}', False),
        ('{"interval": 60, "timezone": "UTC", "anchor_date": "2024-01-01T00:00:00Z"}', True),
        ('{"interval": 60, "timezone": "\\"anchor_date\\": \\""}', False),
        ('{"cron": "@daily"}', True),
        ('{"cron": "\\"interval\\": "}', True),
        ("null", True),
    ],
)
def test_what_is_anchored_now_does_not_last(stored: str, lasting: bool) -> None:
    assert rows.lasting(['{"cron": "@daily"}', stored]) is lasting


@pytest.mark.parametrize("stored", [None, "null", "[]", "0", "0.0", "false", '""'])
def test_labels_are_an_object(stored: str | None) -> None:
    assert msgspec.json.encode(rows._labels(stored)) == b"{}"


def test_fixed_objects_drop_foreign_keys_and_show_missing_ones() -> None:
    author = rows._rebuilt('{"type": "USER", "extra": 1}', rows._actor)
    assert rows.encode(author) == b'{"id":null,"type":"USER","display_value":null}'
    options = rows._rebuilt('{"collision_strategy": "ENQUEUE", "x": 1, "grace_period_seconds": 120.0}', rows._options)
    assert rows.encode(options) == b'{"collision_strategy":"ENQUEUE","grace_period_seconds":120}'


@pytest.mark.parametrize("stored", [None, "null", "[1]", '"x"', "7" * 5000, '{"id": %s}' % ("7" * 5000)])
def test_what_cannot_be_rebuilt_goes_out_as_stored(stored: str | None) -> None:
    expected = (stored or "null").replace(" ", "").encode()
    assert rows.encode(rows._rebuilt(stored, rows._actor)) == expected


def test_an_interval_beyond_all_time_goes_out_as_stored() -> None:
    assert timing('{"interval": 1%s}' % ("0" * 300)) == {"interval": 10**300}


def test_ids_and_times_of_the_driver_are_printed_as_prefect_does() -> None:
    value = [pgproto.UUID("00000DE9-0000-4000-8000-000000000001"), datetime(2024, 5, 1, 12, tzinfo=UTC)]
    assert rows.encode(value) == b'["00000de9-0000-4000-8000-000000000001","2024-05-01T12:00:00Z"]'
    assert rows.encode(datetime(2024, 5, 1, microsecond=100, tzinfo=UTC)) == b'"2024-05-01T00:00:00.000100Z"'
