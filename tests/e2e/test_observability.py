"""One request seen from outside: the same id in every log, one trace, and counters that move in every process."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services import embedded
from services.seed import seed
from shared.contract import SERVICES
from tests import fleet
from tests.collector import Span, collector
from tests.conftest import SCHEMA, folder

NAME = "search-0042"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
SEARCH: dict[str, Any] = {"limit": 5, "flows": {}, "flow_runs": {}, "work_pools": {}}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Seen:
    """What is left of a fleet that answered one search and some nonsense."""

    headers: dict[str, str]
    before: dict[str, Samples]
    after: dict[str, Samples]
    later: dict[str, Samples]
    ready: dict[str, int]
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)


@pytest.fixture(scope="module")
async def seen() -> AsyncIterator[Seen]:
    with folder() as home, embedded.postgres(home, durable=False) as dsn, embedded.nats(home) as nats_url:
        connection = await asyncpg.connect(dsn)
        await connection.execute(SCHEMA.read_text())
        await connection.close()
        await seed(dsn, deployments=30, flow_runs=300, task_runs=600, progress=False)
        logs = home / "logs"
        logs.mkdir()
        with collector() as collected:
            extra = {"OTEL_EXPORTER_OTLP_ENDPOINT": collected.url}
            with fleet.running(dsn, nats_url, logs=logs, extra=extra, log_level="DEBUG", log_format="json") as running:
                async with aiohttp.ClientSession() as http:
                    found = await watched(http, running)
        found.logs = {name: lines(logs / f"{name}.log") for name in SERVICES}
        found.spans = collected.spans
        yield found


async def watched(http: aiohttp.ClientSession, running: fleet.Fleet) -> Seen:
    """The headers of one search, the metrics before and after it and after much nonsense, and who is ready."""
    before = await scraped(http, running)
    url = f"{running.url}/api/deployments/paginate"
    headers = {"x-request-id": NAME, "traceparent": CALLER}
    async with http.post(url, json=SEARCH, headers=headers) as answer:
        assert answer.status == 200
        assert (await answer.json())["results"]
    after = await scraped(http, running)
    for number in range(100):
        path = f"{running.url}/api/nonsense/{number}" if number % 2 else url
        async with http.post(path, json={"page": f"x{number}"}, headers={"x-request-id": f"{number}"}) as refused:
            assert refused.status in {404, 422}
    later = await scraped(http, running)
    ready = {name: await status(http, f"{address}/ready") for name, address in running.monitors.items()}
    return Seen(dict(answer.headers), before, after, later, ready)


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def scraped(http: aiohttp.ClientSession, running: fleet.Fleet) -> dict[str, Samples]:
    found = {}
    for name, address in running.monitors.items():
        async with http.get(f"{address}/metrics") as answer:
            found[name] = samples(await answer.text())
    return found


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_every_line_of_every_process_is_json_and_says_whose_it_is(seen: Seen) -> None:
    for name, written in seen.logs.items():
        assert {line["service"] for line in written} == {name}
        assert {"timestamp", "level", "logger", "event"} <= set.intersection(*map(set, written))


def test_the_clients_id_is_in_the_answer_and_in_every_log(seen: Seen) -> None:
    assert seen.headers["X-Request-ID"] == NAME
    for written in seen.logs.values():
        assert NAME in {line.get("request_id") for line in written}


def test_the_answer_tells_where_its_time_went(seen: Seen) -> None:
    legs = {entry.partition(";dur=")[0]: float(entry.partition(";dur=")[2]) for entry in timing(seen)}
    assert legs.keys() > {"total"}
    assert all(0 <= spent <= legs["total"] for spent in legs.values())


def timing(seen: Seen) -> list[str]:
    return seen.headers["Server-Timing"].split(", ")


def test_one_trace_covers_the_gateway_and_every_service(seen: Seen) -> None:
    ours = {span.id: span for span in seen.spans if span.trace == TRACE}
    assert {span.service for span in ours.values()} == {f"classis-{name}" for name in SERVICES}
    outside = [span for span in ours.values() if span.parent not in ours]
    assert [(span.service, span.parent) for span in outside] == [("classis-gateway", CALLER.split("-")[2])]
    assert not any(span.failed for span in ours.values())


def test_the_search_is_counted_in_every_process(seen: Seen) -> None:
    for name in SERVICES:
        before, after = seen.before[name], seen.after[name]
        counter = "classis_http_request_seconds_count" if name == "gateway" else "classis_rows_total"
        assert total(after, counter) > total(before, counter)
    for counter in ("classis_call_seconds_count", "classis_http_response_bytes_total"):
        assert total(seen.after["gateway"], counter) > total(seen.before["gateway"], counter)
    for counter in ("classis_served_seconds_count", "classis_query_seconds_count", "classis_strategy_total"):
        assert total(seen.after["runs"], counter) > total(seen.before["runs"], counter)


def total(found: Samples, name: str) -> float:
    return sum(value for (sample, _), value in found.items() if sample == name)


def test_nonsense_makes_no_new_series(seen: Seen) -> None:
    for name in SERVICES:
        new = {key for key in seen.later[name].keys() - seen.after[name].keys() if key[0].endswith("_count")}
        assert len(new) <= 2  # one for 404 and one for 422
        assert len([key for key in seen.later[name] if key[0].startswith("classis_")]) < 500


def test_every_process_is_ready(seen: Seen) -> None:
    assert seen.ready == dict.fromkeys(SERVICES, 200)
