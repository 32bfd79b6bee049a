"""`python -m bench.load`: the load, in a process of its own. Takes an `Order` on stdin, gives a `Yield` on stdout.

Between the two it says "ready" once it is warm, and waits for a line before it starts the clock.
"""

import asyncio
import random
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import aiohttp
import uvloop
from msgspec import Struct, field, json

from bench import floor
from bench.shapes import WORKLOADS, Body, Workload

CONNECTIONS = 4  # of the floor
TIMEOUT = 180.0
Ask = Callable[[Body], Awaitable[bool]]


class Order(Struct, kw_only=True):
    """What to send, where, how often at once and for how long."""

    workload: str
    distinct: bool
    concurrency: int
    seconds: float
    url: str | None  # None: the floor's SQL, from this process
    dsn: str
    choices: floor.Choices = field(default_factory=dict)


class Yield(Struct, kw_only=True):
    """What came of it."""

    seconds: float
    milliseconds: list[float]  # of every request, in the order in which they ended
    failures: int
    cpu: float  # CPU seconds of this process


async def over_http(order: Order, workload: Workload, stack: AsyncExitStack) -> Ask:
    session = await stack.enter_async_context(
        aiohttp.ClientSession(
            order.url,
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("Accept-Encoding",),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        )
    )
    path, headers = f"/api/deployments/{workload.shape.path}", {"Content-Type": "application/json"}

    async def ask(body: Body) -> bool:
        try:
            async with session.post(path, data=json.encode(body), headers=headers) as response:
                await response.read()
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ask


async def through_sql(order: Order, workload: Workload, stack: AsyncExitStack) -> Ask:
    gate = asyncio.Semaphore(CONNECTIONS)  # first come, first served
    free = [
        floor.Floor(await stack.enter_async_context(floor.lines(order.dsn)), order.choices) for _ in range(CONNECTIONS)
    ]

    async def ask(body: Body) -> bool:
        async with gate:
            taken = free.pop()
            try:
                await taken.ask(workload.shape, body)
            finally:
                free.append(taken)
        return True

    return ask


async def sent(ask: Ask, bodies: Iterator[Body], concurrency: int, seconds: float) -> tuple[list[float], int]:
    """Requests, that many at once, for so long; those under way at the end are waited for. Times, and failures."""
    until, taken, failures = time.perf_counter() + seconds, list[float](), 0

    async def one_after_another() -> None:
        nonlocal failures
        while True:
            start = time.perf_counter()
            failures += not await ask(next(bodies))
            taken.append((time.perf_counter() - start) * 1000)
            if time.perf_counter() > until:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(one_after_another())
    return taken, failures


async def carried_out(order: Order) -> Yield:
    workload = WORKLOADS[order.workload]
    async with AsyncExitStack() as stack:
        ask = await (over_http if order.url else through_sql)(order, workload, stack)
        bodies = iter(_prepared(workload, order))
        await sent(ask, bodies, min(order.concurrency, CONNECTIONS), order.seconds / 8)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        used, start = _cpu(), time.perf_counter()
        taken, failures = await sent(ask, bodies, order.concurrency, order.seconds)
        return Yield(seconds=time.perf_counter() - start, milliseconds=taken, failures=failures, cpu=_cpu() - used)


def _prepared(workload: Workload, order: Order) -> Iterator[Body]:
    """Bodies without end, made beforehand."""
    if not order.distinct:
        return workload.same()
    made = workload.distinct()
    stock = [next(made) for _ in range(20_000)]
    random.Random(order.concurrency).shuffle(stock)
    return _again(stock)


def _again(stock: list[Body]) -> Iterator[Body]:
    while True:
        yield from stock


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    order = json.decode(sys.stdin.readline(), type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done = runner.run(carried_out(order))
    print(json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    main()
