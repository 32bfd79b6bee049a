"""The bus in trouble: messages that nobody should send, and connections that break, hang or are not there yet."""

import asyncio
import os
import signal
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import msgspec
import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout

from services import embedded
from shared import bus, contract, errors
from shared.bus import Bus
from shared.calling import encode
from shared.contract import (
    ERROR_NAME,
    PAGE,
    RUNS,
    Owners,
    Page,
    RunLeg,
    Selection,
)
from shared.filters import FlowRunFilter
from shared.line import Message
from shared.settings import Settings
from tests.buses import ECHO, MEGABYTE, Connect, one_owner
from tests.processes import running_in
from tests.relay import relay


async def test_a_lost_connection_that_does_not_come_back_fails_the_calls_in_flight_soon(home: Path) -> None:
    accepted, release = asyncio.Event(), asyncio.Event()

    async def slow(_: RunLeg) -> Owners:
        accepted.set()
        await release.wait()
        return Owners(bytes(16), 1)

    with embedded.nats(home) as url, relay(url) as line:
        async with (
            bus.connect(Settings(nats_url=line.url), "server") as server,
            bus.connect(Settings(nats_url=line.url), "caller") as caller,
            server.serve(RUNS, slow),
        ):
            await asyncio.gather(server.up(10), caller.up(10))
            call = asyncio.ensure_future(caller.call(RUNS, RunLeg(flow_runs=FlowRunFilter()), 60))
            await accepted.wait()
            line.cut()
            async with asyncio.timeout(3):
                with pytest.raises(errors.Disconnected):
                    await call
            async with asyncio.timeout(0.5):  # from now on at once
                with pytest.raises(errors.Disconnected):
                    await caller.call(RUNS, RunLeg(), 60)
            release.set()


async def test_nobody_makes_us_speak_to_a_service_or_to_ourselves(connect: Connect) -> None:
    """NATS does not check the address that a message asks to reply to."""
    server, caller = await connect("deployments"), await connect("deployments")
    worked = asyncio.Event()

    async def page(_: Selection) -> Page:
        worked.set()
        return Page(b"[]", 0)

    heard = await caller.line.client.subscribe("classis.v1.flows.>")
    async with server.serve(PAGE, page), server.line.inbox() as own:
        for address in ("classis.v1.flows.keys", own.address, "$SRV.PING"):
            await caller.line.client.publish(PAGE.subject, encode(Selection(within=5)), address)
            await caller.line.client.publish(contract.peers("deployments"), b"", address)
        assert await caller.call(PAGE, Selection(), 5) == Page(b"[]", 0)  # what came before it has been seen
        assert own.empty
    with pytest.raises(NatsTimeout):
        await heard.next_msg(0.1)


@pytest.mark.parametrize("reply", [b"{}", msgspec.msgpack.encode({}), msgspec.msgpack.encode({"invented": 1})])
async def test_a_reply_of_something_else_is_never_an_empty_page(connect: Connect, reply: bytes) -> None:
    caller, other = await connect("deployments"), await connect("deployments")

    async def answer(msg: Msg) -> None:
        await msg.respond(reply)

    await other.line.client.subscribe(PAGE.subject, "deployments", cb=answer)
    await other.line.client.flush()
    with pytest.raises(errors.OtherVersion):
        await caller.call(PAGE, Selection(), 5)


@pytest.mark.parametrize(
    "line",
    [b"HPUB classis.v1.runs.owners _INBOX.x 14 14\r\nNATS/1.0 \xff\r\n\r\n\r\n", b"PUB classis.v1.runs.owners _INBOX.\xff 0\r\n\r\n",
     b"PUB classis.v1.runs.owners _INBOX.\x0ba 0\r\n\r\n", b"PUB classis.v1.runs.owners.\x0c\xfe 0\r\n\r\n"],
)  # fmt: skip
async def test_a_message_that_nats_py_cannot_read_costs_no_connection(
    connect: Connect, nats_url: str, line: bytes
) -> None:
    server, caller = await connect(), await connect()
    address = urlsplit(nats_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    async with server.serve(RUNS, one_owner):
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + line + b"PING\r\n")
        while not (await reader.readline()).startswith(b"PONG"):
            pass
        for _ in range(3):
            assert await caller.call(RUNS, RunLeg(), 5) == Owners(bytes(16), 1)
        assert server.line.down_since == caller.line.down_since == float("-inf")
    writer.close()


async def test_a_spent_deadline_is_not_an_endless_one(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    async with server.serve(RUNS, one_owner):
        reply = await caller.ask(RUNS, Message(encode(RunLeg(within=0))), 5)
    assert reply.headers[ERROR_NAME] == "DeadlineSpent"


async def test_what_is_published_without_a_reply_address_is_no_harm(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    async with server.serve(RUNS, one_owner):
        await caller.line.client.publish(RUNS.subject, b"junk")
        assert await caller.call(RUNS, RunLeg(), 5) == Owners(bytes(16), 1)


async def test_listening_before_there_is_a_server(home: Path) -> None:
    with embedded.nats(home) as url, relay(url) as line:
        line.cut()
        settings = Settings(nats_url=line.url)
        async with (
            bus.connect(settings, "runs") as server,
            bus.connect(settings, "gateway") as caller,
            server.serve(RUNS, one_owner),
        ):
            with pytest.raises(errors.DeadlineSpent):
                await server.up(0.3)
            with pytest.raises(errors.Disconnected):
                await caller.call(RUNS, RunLeg(), 5)
            line.mend()
            await asyncio.gather(server.up(10), caller.up(10))
            assert await caller.call(RUNS, RunLeg(), 5) == Owners(bytes(16), 1)


async def test_a_connection_that_hangs_full_of_unsent_bytes_ends_every_call_in_time(home: Path) -> None:
    with embedded.nats(home) as url:
        async with bus.connect(Settings(nats_url=url), "gateway") as caller:
            await caller.up(10)
            [server] = running_in(home)
            os.kill(server, signal.SIGSTOP)
            try:
                large = Message(bytes(MEGABYTE - 2048))
                calls = [caller.ask(ECHO, large, 2) for _ in range(12)]
                async with asyncio.timeout(8):
                    found = await asyncio.gather(*calls, return_exceptions=True)
            finally:
                os.kill(server, signal.SIGCONT)
            assert all(isinstance(error, errors.Unavailable) for error in found)
            async with asyncio.timeout(10):
                while isinstance(await answer_or_error(caller), errors.Disconnected):
                    await asyncio.wait([asyncio.ensure_future(caller.up())], timeout=0.1)


async def answer_or_error(caller: Bus) -> Owners | Exception:
    try:
        return await caller.call(RUNS, RunLeg(), 2)
    except errors.FleetError as error:
        return error


async def test_an_error_of_the_server_ends_in_a_new_connection(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    before = monotonic()
    async with server.serve(RUNS, one_owner):
        await caller.line.client._process_err("'authentication expired'")
        async with asyncio.timeout(10):
            while (found := await answer_or_error(caller)) != Owners(bytes(16), 1):
                assert isinstance(found, errors.Disconnected)
                await asyncio.wait([asyncio.ensure_future(caller.up())], timeout=0.1)
    assert caller.line.back_since > before
