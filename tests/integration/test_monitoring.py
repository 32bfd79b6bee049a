"""Traces as a collector gets them, and the metrics port, each on real sockets."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import metrics as kinds
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from shared import metrics, monitoring, readiness, tracing
from shared.settings import Settings, SettingsError
from tests.collector import Collector, collector
from tests.fleet import free_port

ROOT = Path(__file__).parents[2]
FEW_VALUES = {
    "endpoint",
    "status",
    "subject",
    "outcome",
    "service",
    "reason",
    "kind",
    "strategy",
    "pool",
    "state",
    "revision",
}


# --- traces


@pytest.fixture(autouse=True)
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        yield made


def test_a_span_below_another_and_below_another_process(collected: Collector) -> None:
    with tracing.exporting(["gateway"]):
        with tracing.span("search", kind="server", **{"http.request.method": "POST"}) as search:
            with tracing.span("call", kind="client", **{"messaging.system": "nats"}):
                crossing = tracing.traceparent()
            search.set_attribute("http.response.status_code", 200)
        with tracing.span("serve", parent=crossing, kind="server"):
            pass
    search_, call, serve = (collected.named(name) for name in ("search", "call", "serve"))
    assert (search_.parent, call.parent, serve.parent) == ("", search_.id, call.id)
    assert search_.trace == call.trace == serve.trace
    assert (search_.kind, call.kind) == (2, 3)
    assert {span.service for span in collected.spans} == {"classis-gateway"}
    assert search_.attributes == {"http.request.method": "POST", "http.response.status_code": 200}
    assert call.attributes == {"messaging.system": "nats"}


def test_of_an_error_only_its_name_is_told(collected: Collector) -> None:
    with tracing.exporting(["runs", "flows"]):
        with pytest.raises(ValueError, match="secret"), tracing.span("failing"):
            raise ValueError("a secret")
        with pytest.raises(asyncio.CancelledError), tracing.span("cancelled"):
            raise asyncio.CancelledError
        assert tracing.traceparent() == ""
    failing, cancelled = collected.named("failing"), collected.named("cancelled")
    assert (failing.failed, failing.attributes) == (True, {"error.type": "ValueError"})
    assert (cancelled.failed, cancelled.attributes) == (False, {"error.type": "CancelledError"})
    assert "secret" not in str(collected.spans)
    assert failing.service == "classis"


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-é", "x" * 10_000])
def test_a_parent_that_is_none_begins_a_trace(collected: Collector, parent: str) -> None:
    with tracing.exporting(["gateway"]), tracing.span("search", parent=parent):
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", tracing.traceparent())
    assert collected.named("search").parent == ""


async def test_tasks_side_by_side_have_their_own_spans(collected: Collector) -> None:
    meet = asyncio.Barrier(2)

    async def leg(name: str) -> None:
        with tracing.span(name):
            await meet.wait()
            with tracing.span(f"{name} statement"):
                await meet.wait()

    with tracing.exporting(["gateway"]), tracing.span("search"):
        await asyncio.gather(leg("flows"), leg("pools"))
    for name in ("flows", "pools"):
        assert collected.named(name).parent == collected.named("search").id
        assert collected.named(f"{name} statement").parent == collected.named(name).id


def test_the_environment_names_the_service(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "prefect-reads")
    with tracing.exporting(["gateway"]), tracing.span("x"):
        pass
    assert collected.named("x").service == "prefect-reads"


@pytest.mark.parametrize("off", [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_it_can_be_turned_off(collected: Collector, monkeypatch: pytest.MonkeyPatch, off: tuple[str, str]) -> None:
    monkeypatch.setenv(*off)
    with tracing.exporting(["gateway"]), tracing.span("x") as span:
        assert (span, tracing.traceparent()) == (tracing.NOTHING, "")
    assert collected.spans == []


def test_a_variable_that_opentelemetry_refuses_is_named(collected: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(SettingsError, match=r"OTEL_.*max_queue_size"), tracing.exporting(["gateway"]):
        pass


def test_nothing_of_opentelemetry_is_loaded_unless_it_is_wanted() -> None:
    script = "import sys; import services.__main__; sys.exit(any('opentelemetry' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def refusing() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("dead", [silent, refusing])
def test_a_dead_collector_delays_neither_work_nor_leaving(dead: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with dead() as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        with tracing.exporting(["gateway"]):
            began = time.monotonic()
            for _ in range(10_000):  # more than the queue takes
                with tracing.span("search"):
                    pass
            took = time.monotonic() - began
            leaving = time.monotonic()
        assert took < 5
        assert time.monotonic() - leaving < 4


# --- the metrics port


@pytest.fixture
async def port() -> AsyncIterator[aiohttp.ClientSession]:
    number = free_port()
    address = f"http://127.0.0.1:{number}"
    async with monitoring.serving(Settings(metrics_port=number)), aiohttp.ClientSession(address) as session:
        yield session


async def get(port: aiohttp.ClientSession, path: str, **headers: str) -> tuple[int, str]:
    async with port.get(path, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_metrics_in_both_formats(port: aiohttp.ClientSession) -> None:
    metrics.ROWS.labels("flows").inc(3)
    _, text = await get(port, "/metrics")
    found = {family.name for family in text_string_to_metric_families(text)}
    names = {name + ("_info" if metric._type == "info" else "") for name, metric in declared().items()}
    assert names | {"process_resident_memory_bytes", "python_info"} <= found
    _, text = await get(port, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    read = openmetrics_families(text)  # type: ignore[no-untyped-call]
    [rows] = [family for family in read if family.name == "classis_rows"]
    assert [sample.value for sample in rows.samples if sample.name == "classis_rows_total"] >= [3]


async def test_ready_while_everything_needed_holds(port: aiohttp.ClientSession) -> None:
    connected = False
    assert await get(port, "/ready") == (200, "OK\n")
    with readiness.needed("flows: NATS", lambda: connected), readiness.needed("runs: NATS", lambda: True):
        assert await get(port, "/ready") == (503, "Not ready: flows: NATS\n")
        assert await get(port, "/health") == (200, "OK\n")
        connected = True
        assert await get(port, "/ready") == (200, "OK\n")
    assert (await get(port, "/other"))[0] == 404


@pytest.mark.parametrize(("settings", "there", "elsewhere"), [
    ({"host": "127.0.0.2"}, "127.0.0.2", "127.0.0.1"),
    ({"host": "127.0.0.2", "metrics_host": "127.0.0.1"}, "127.0.0.1", "127.0.0.2"),
])  # fmt: skip
async def test_it_listens_where_it_is_told_and_else_where_the_gateway_does(
    settings: dict[str, Any], there: str, elsewhere: str
) -> None:
    number = free_port()
    async with monitoring.serving(Settings(metrics_port=number, **settings)), aiohttp.ClientSession() as session:
        async with session.get(f"http://{there}:{number}/health") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{elsewhere}:{number}/health")


def test_every_label_takes_few_values() -> None:
    assert {label for collected in declared().values() for label in collected._labelnames} <= FEW_VALUES


def declared() -> dict[str, kinds.MetricWrapperBase]:
    """The metrics of shared/metrics.py, by name."""
    found = [value for value in vars(metrics).values() if isinstance(value, kinds.MetricWrapperBase)]
    return {value._name: value for value in found}


SUFFIX = {"counter": "_total", "info": "_info"}


def test_the_documented_table_is_what_is_counted() -> None:
    rows = [
        f"| `{name}{SUFFIX.get(str(metric._type), '')}` | {metric._type} "
        f"| {', '.join(metric._labelnames) or '–'} | {metric._documentation} |"
        for name, metric in declared().items()
    ]
    text = (ROOT / "docs" / "observability.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| `classis_")] == rows


# --- the process


@contextmanager
def classis(*services: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    own = {f"CLASSIS_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, "CLASSIS_NATS_URL": "nats://127.0.0.1:1", "CLASSIS_LOG_FORMAT": "json", **own}
    command = [sys.executable, "-m", "services", "run", *services]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("setting", ["metrics_port", "port"])
def test_a_port_that_is_taken_is_one_line_and_an_exit_code(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with classis("gateway", **{setting: str(number)}) as process:
            _, said = process.communicate(timeout=30)
    lines = [json.loads(line) for line in said.splitlines()]
    [trouble] = [line for line in lines if line["level"] == "critical"]
    assert process.returncode == 1
    assert str(number) in trouble["event"]
    assert "cannot start" in trouble["event"]
    assert "exception" not in trouble


def answered(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def until(process: subprocess.Popen[str], event: str) -> list[dict[str, Any]]:
    """What the process logs, up to an event."""
    assert process.stderr
    said = [json.loads(next(process.stderr))]
    while said[-1]["event"] != event:
        said.append(json.loads(next(process.stderr)))
    return said


def test_a_process_lives_but_is_not_ready_without_nats_and_leaves_when_told() -> None:
    number = free_port()
    with classis("flows", metrics_port=str(number), postgres_dsn="postgresql://127.0.0.1:1/none") as process:
        said = until(process, "flows runs")
        assert [answered(number, path) for path in ("health", "ready")] == [
            (200, "OK\n"),
            (503, "Not ready: NATS for flows, database for flows\n"),
        ]
        process.send_signal(signal.SIGTERM)
        said += until(process, "stopping")
        assert process.wait(10) == 0
    assert {line["service"] for line in said} == {"flows"}
    assert said[-1]["event"] == "stopping"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_it_leaves_it_is_not_ready_and_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    monitor = free_port()
    with classis("gateway", port=str(free_port()), metrics_port=str(monitor), drain="60") as process:
        until(process, "gateway runs")
        process.send_signal(number)
        until(process, "stopping")
        status, text = answered(monitor, "ready")
        assert (status, "services" in text) == (503, True)
        assert answered(monitor, "health") == (200, "OK\n")
        process.send_signal(number)
        assert process.wait(5) == -number
        assert process.stderr
        said = process.stderr.read().splitlines()
        assert not [line for line in said if "NATS" not in line], said  # there is none, and that may still be told
