"""Latency: one request at a time, every contender once a shape in each round, in an order that rotates."""

import asyncio
import gc
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import uvloop
from tqdm import tqdm

from bench import floor
from bench.contenders import CONTENDERS, Running
from bench.results import Refusals, Samples
from bench.shapes import Shape

TIMEOUT = 120.0
IDLE = 2.0  # seconds; Prefect's server closes a connection that is idle for five


class Refused(RuntimeError):
    """A contender did not answer with 200."""


class Ask(Protocol):
    """A way to ask one contender."""

    def ready(self) -> None:
        """What need not be timed."""

    def __call__(self, shape: Shape) -> bytes:
        """The body of the answer. Raises Refused."""


class _OverHttp:
    """One kept connection. The response is read, not decoded."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT)
        self._used = 0.0

    def ready(self) -> None:
        if time.monotonic() - self._used > IDLE:  # the server may have closed it, or is about to
            self._connection.close()
            self._connection.connect()

    def __call__(self, shape: Shape) -> bytes:
        body = json.dumps(shape.body, ensure_ascii=False).encode()
        path, headers = f"/api/deployments/{shape.path}", {"Content-Type": "application/json"}
        self._used = 0.0  # after anything but an answer it is closed by either side
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"shape {shape.name}: {error!r}") from error
        if response.status != 200:
            raise Refused(f"shape {shape.name}: {response.status} {text[:300].decode(errors='replace')}")
        self._used = time.monotonic()
        return text

    def close(self) -> None:
        self._connection.close()


class _ThroughSql:
    """The floor, in this process."""

    def __init__(self, runner: asyncio.Runner, made: floor.Floor) -> None:
        self._runner, self._floor = runner, made

    def ready(self) -> None:
        """A connection to PostgreSQL stays."""

    def __call__(self, shape: Shape) -> bytes:
        return self._runner.run(self._floor.ask(shape, shape.body))


@contextmanager
def _over_http(url: str) -> Iterator[Ask]:
    with closing(_OverHttp(url)) as made:
        yield made


@contextmanager
def _through_sql(dsn: str, choices: floor.Choices) -> Iterator[Ask]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, ExitStack() as stack:
        opened = floor.lines(dsn)
        lines = runner.run(opened.__aenter__())
        stack.callback(lambda: runner.run(opened.__aexit__(None, None, None)))
        yield _ThroughSql(runner, floor.Floor(lines, choices))


@contextmanager
def asking(running: Mapping[str, Running], dsn: str, choices: floor.Choices) -> Iterator[dict[str, Ask]]:
    """A way to ask each contender."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(_over_http(one.url) if one.url else _through_sql(dsn, choices))
            for name, one in running.items()
        }


def timed(asks: Mapping[str, Ask], shapes: list[Shape], rounds: int, refusals: Refusals) -> dict[str, Samples]:
    """Milliseconds of every answer: shape → contender → one a round it took part in.

    Whoever refused a shape is not asked again; who does now is added.
    """
    names = list(asks)
    taken: dict[str, Samples] = {
        shape.name: {name: [] for name in names if name not in refusals.get(shape.name, {})} for shape in shapes
    }
    answering = [name for samples in taken.values() for name in samples]
    total = sum(len(range(0, rounds, CONTENDERS[name].every)) for name in answering)
    gc.collect()
    gc.freeze()
    with tqdm(total=total, desc="latency", unit="req", dynamic_ncols=True) as bar:
        for number in range(rounds):
            turn = number % len(names)
            for shape in shapes:
                for name in names[turn:] + names[:turn]:
                    if name in taken[shape.name] and number % CONTENDERS[name].every == 0:
                        bar.set_postfix_str(f"{shape.name}: {name}", refresh=False)
                        asks[name].ready()
                        start = time.perf_counter()
                        try:
                            asks[name](shape)
                            taken[shape.name][name].append((time.perf_counter() - start) * 1000)
                        except Refused as error:
                            refusals.setdefault(shape.name, {})[name] = str(error)
                        bar.update()
    gc.unfreeze()
    return taken
