"""The bus on a real NATS: deadlines, errors, large payloads, and work that was accepted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats
import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout

from services import embedded
from shared import bus, contract, errors, parts
from shared.bus import Bus
from shared.calling import encode
from shared.contract import (
    ERROR_CODE,
    ERROR_NAME,
    PAGE,
    RUNS,
    WITHIN,
    Endpoint,
    Owners,
    Page,
    Peer,
    Readiness,
    Ready,
    RunLeg,
    Selection,
)
from shared.filters import FlowRunFilter
from shared.line import Message
from shared.settings import Settings
from tests.processes import running_in
from tests.relay import relay

Connect = Callable[..., Awaitable[Bus]]
MEGABYTE = 1024 * 1024
ECHO = Endpoint[Any, Any]("classis.v1.echo", Readiness, Ready, "test", "Replies what it is sent.")


@pytest.fixture
async def connect(nats_url: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def made(service: str = "runs", **settings: Any) -> Bus:
            line = await stack.enter_async_context(bus.connect(Settings(nats_url=nats_url, **settings), service))
            await line.up(10)
            return line

        yield made


async def one_owner(_: RunLeg) -> Owners:
    return Owners(bytes(16), 1)


async def never() -> Owners:
    future: asyncio.Future[Owners] = asyncio.get_running_loop().create_future()
    return await future


async def test_a_call_is_answered(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    async with server.serve(RUNS, one_owner):
        assert await caller.call(RUNS, RunLeg(), 5) == Owners(bytes(16), 1)


async def test_nobody_listening_is_absent_at_once(connect: Connect) -> None:
    caller = await connect()
    async with asyncio.timeout(2):
        with pytest.raises(errors.Absent):
            await caller.call(RUNS, RunLeg(), 60)


async def test_the_deadline_ends_the_call(connect: Connect) -> None:
    server, caller = await connect(), await connect()

    async def forever(_: RunLeg) -> Owners:
        return await never()

    async with server.serve(RUNS, forever):
        with pytest.raises(errors.DeadlineSpent):
            await caller.call(RUNS, RunLeg(), 0.2)


@pytest.mark.parametrize(
    ("deadline", "within", "headers"), [(10, 0.2, {}), (10, 60, {WITHIN: "0.2"}), (0.2, 60, {})]
)  # fmt: skip
async def test_the_work_for_a_killed_caller_ends_in_time(
    connect: Connect, nats_url: str, deadline: float, within: float, headers: dict[str, str]
) -> None:
    """It cannot say that it has left. Its own deadline ends the work, told in the request or beside it, or ours."""
    server = await connect(deadline=deadline)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def forever(_: RunLeg) -> Owners:
        begun.set()
        try:
            return await never()
        finally:
            ended.set()

    async with server.serve(RUNS, forever):
        killed = await nats.connect(nats_url)
        await killed.publish(RUNS.subject, encode(RunLeg(within=within)), "nobody", headers=headers)
        await killed.close()
        async with asyncio.timeout(5):
            await begun.wait()
            await ended.wait()


@pytest.mark.parametrize("error", [errors.DatabaseDown, errors.Unacceptable, errors.DeadlineSpent])
async def test_an_error_of_the_service_is_raised_again_without_its_text(
    connect: Connect, error: type[errors.FleetError]
) -> None:
    server, caller = await connect(), await connect()

    async def failing(_: RunLeg) -> Owners:
        raise error("secret host name")

    async with server.serve(RUNS, failing):
        with pytest.raises(error) as raised:
            await caller.call(RUNS, RunLeg(), 5)
    assert "secret" not in str(raised.value)


async def test_a_mistake_of_ours_is_broken_and_tells_nothing(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server, caller = await connect(), await connect()

    async def mistaken(_: RunLeg) -> Owners:
        raise KeyError("secret")

    async with server.serve(RUNS, mistaken):
        reply = await caller.ask(RUNS, Message(encode(RunLeg(within=5))), 5)
    assert (reply.headers[ERROR_CODE], reply.headers[ERROR_NAME]) == ("500", "Broken")
    assert b"secret" not in reply.payload
    assert "secret" in caplog.text


async def test_a_field_of_another_version_is_refused(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    newer = msgspec.msgpack.encode({"within": 5.0, "flow_runs": {"invented": {}}})
    async with server.serve(RUNS, one_owner):
        reply = await caller.ask(RUNS, Message(newer), 5)
    assert reply.headers[ERROR_NAME] == "Malformed"


async def test_requests_and_replies_larger_than_a_message_arrive_whole(connect: Connect) -> None:
    server, caller = await connect("deployments"), await connect("deployments")
    sent = bytes(range(256)) * (7 * 4096)  # 7 MiB: 458,752 keys

    async def echo(selection: Selection) -> Page:
        return Page(selection.flow_ids or b"", 1)

    async with server.serve(PAGE, echo):
        calls = [caller.call(PAGE, Selection(flow_ids=sent), 20) for _ in range(3)]
        for page in await asyncio.gather(*calls):
            assert page.rows == sent


@pytest.mark.parametrize("size", [MEGABYTE - 2048, MEGABYTE - 1024, MEGABYTE, MEGABYTE + 1, 2 * MEGABYTE])
async def test_sizes_around_the_limit(connect: Connect, size: int) -> None:
    server, caller = await connect("test"), await connect("test")

    async def echo(message: Message) -> Message:
        return message

    async with server.listen(ECHO, echo, 4 * MEGABYTE):
        reply = await caller.ask(ECHO, Message(b"x" * size), 10)
    assert len(reply.payload) == size


async def test_requests_are_answered_side_by_side(connect: Connect) -> None:
    server, caller = await connect(), await connect()
    everybody_is_here = asyncio.Barrier(20)

    async def meet(_: RunLeg) -> Owners:
        await everybody_is_here.wait()
        return Owners(b"", 0)

    async with server.serve(RUNS, meet):
        await asyncio.gather(*(caller.call(RUNS, RunLeg(), 10) for _ in range(20)))


async def test_more_than_a_service_takes_is_refused_at_once(connect: Connect) -> None:
    server, caller = await connect(concurrency=2), await connect()
    release = asyncio.Event()

    async def waiting(_: RunLeg) -> Owners:
        await release.wait()
        return Owners(b"", 0)

    async with server.serve(RUNS, waiting):
        calls = [asyncio.ensure_future(caller.call(RUNS, RunLeg(), 10)) for _ in range(3)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        [refused] = done
        assert isinstance(refused.exception(), errors.Busy)
        release.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(result == Owners(b"", 0) for result in results) == 2


async def test_accepted_work_is_finished_before_leaving(connect: Connect, nats_url: str) -> None:
    caller = await connect()
    accepted, leaving = asyncio.Event(), asyncio.Event()

    async def slow(request: RunLeg) -> Owners:
        accepted.set()
        await leaving.wait()
        for _ in range(50):  # far more than who leaves without it needs to close
            await caller.line.client.flush()
        return Owners(bytes(16), 1)

    async with bus.connect(Settings(nats_url=nats_url), "leaving") as server:
        await server.up(10)
        async with server.serve(RUNS, slow):
            call = asyncio.ensure_future(caller.call(RUNS, RunLeg(), 10))
            await accepted.wait()
        leaving.set()
    assert await call == Owners(bytes(16), 1)


async def test_a_replica_that_leaves_replies_to_a_roll_call_only_for_what_it_holds(connect: Connect) -> None:
    server, client = await connect(), (await connect()).line.client
    accepted, release = asyncio.Event(), asyncio.Event()

    async def slow(_: RunLeg) -> Owners:
        accepted.set()
        await release.wait()
        return Owners(bytes(16), 1)

    async with server.serve(RUNS, slow):
        await client.publish(RUNS.subject, encode(RunLeg(within=5)), "its.call")
        await accepted.wait()
    heard = await client.subscribe("test.replies")
    for call in (b"another.call", b"", b"its.call"):  # heard in this order, so the first reply tells of all
        await client.publish(contract.peers("runs"), call, "test.replies")
    reply = await heard.next_msg(5)
    assert msgspec.msgpack.decode(reply.data, type=Peer) == Peer(server.line.id, holds=True)
    release.set()


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


# --- hostile and half-gone callers


async def test_callers_that_go_away_cost_nothing_for_long(connect: Connect) -> None:
    """Each offers a large request and leaves before it is fetched; the service must not run out of places."""
    server, caller = await connect("deployments", concurrency=5), await connect("deployments")

    async def count(selection: Selection) -> Page:
        return Page(b"", len(selection.flow_ids or b""))

    async with server.serve(PAGE, count):
        for attempt in range(20):
            leaving = asyncio.ensure_future(caller.call(PAGE, Selection(flow_ids=bytes(8 * MEGABYTE)), 30))
            await asyncio.wait([leaving], timeout=0.001 * attempt)
            leaving.cancel()
            await asyncio.wait([leaving])
        await all_answered(server)
        assert await caller.call(PAGE, Selection(flow_ids=bytes(16)), 5) == Page(b"", 16)
    assert caller.line.requests.bytes == server.line.replies.bytes == 0


async def test_a_large_reply_is_let_go_once_it_is_fetched(connect: Connect) -> None:
    server, caller = await connect("deployments"), await connect("deployments")

    async def large(_: Selection) -> Page:
        return Page(bytes(5 * MEGABYTE), 1)

    async with server.serve(PAGE, large):
        await caller.call(PAGE, Selection(), 10)
        await let_go(server)


async def let_go(server: Bus) -> None:
    """Returns when nothing is on offer any more, long before an offer ends by itself."""
    async with asyncio.timeout(15):  # an offer ends by itself after 30
        while server.line.replies.bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_large_reply_is_let_go_when_its_caller_leaves(connect: Connect) -> None:
    """By whatever stage the caller has reached: while it is made, offered, or fetched."""
    server, caller = await connect("deployments"), await connect("deployments")
    reply = Page(bytes(12 * MEGABYTE), 1)

    async def large(_: Selection) -> Page:
        return reply

    async with server.serve(PAGE, large):
        for attempt in range(20):
            leaving = asyncio.ensure_future(caller.call(PAGE, Selection(), 30))
            await asyncio.wait([leaving], timeout=0.003 * attempt)
            leaving.cancel()
            await asyncio.wait([leaving])
        await all_answered(server)
        assert await caller.call(PAGE, Selection(), 20) == reply
        await let_go(server)


async def test_a_large_reply_that_comes_after_its_caller_has_left_is_let_go(connect: Connect) -> None:
    server, caller = await connect("deployments"), await connect("deployments")
    asked: asyncio.Queue[Msg] = asyncio.Queue()
    await server.line.client.subscribe(PAGE.subject, "deployments", cb=asked.put)
    await server.line.client.flush()
    leaving = asyncio.ensure_future(caller.call(PAGE, Selection(), 30))
    msg = await asked.get()
    leaving.cancel()
    await asyncio.wait([leaving])
    await server.line.reply(msg, server.line.offer(Message(bytes(5 * MEGABYTE))))
    await let_go(server)


async def test_a_large_reply_too_many_is_let_go(connect: Connect) -> None:
    """As when a call was sent again, and both replicas answer."""
    server, caller = await connect("deployments"), await connect("deployments")
    large = encode(Page(bytes(5 * MEGABYTE), 1))

    async def twice(msg: Msg) -> None:
        offers = [server.line.offer(Message(large)) for _ in range(2)]
        for offer in offers:
            await server.line.reply(msg, offer)

    await server.line.client.subscribe(PAGE.subject, "deployments", cb=twice)
    await server.line.client.flush()
    assert (await caller.call(PAGE, Selection(), 10)).count == 1
    await let_go(server)


async def test_a_large_reply_that_is_lost_is_asked_of_another_replica(connect: Connect) -> None:
    good, caller = await connect("deployments"), await connect("deployments")
    bad = await connect("deployments")
    offered = []

    async def large(_: Selection) -> Page:
        return Page(bytes(5 * MEGABYTE), 1)

    async def none_of_it(msg: Msg) -> None:
        offered.append(msg)
        headers = {parts.HEADER: f"9999 9999 {parts.SUBJECT}.deployments.gone.1"}
        await bad.line.client.publish(msg.reply, b"", headers=headers)

    await bad.line.client.subscribe(PAGE.subject, "deployments", cb=none_of_it)
    await bad.line.client.flush()
    async with good.serve(PAGE, large):
        while not offered:
            assert (await caller.call(PAGE, Selection(), 10)).count == 1


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


@pytest.mark.parametrize(
    "header",
    ["500000000 1 {parts}", "500000 1 {parts}", "-1 5 {parts}", "5 0 {parts}", "x y {parts}", "5 5", "5 5 other.subject", "5 5 classis.v1.parts.test. b",
     "9" * 40 + " 1 {parts}"],
)  # fmt: skip
async def test_a_false_offer_is_refused_at_once(connect: Connect, header: str) -> None:
    server, caller = await connect("test"), await connect("test")

    async def never_reached(_: Message) -> Message:
        raise AssertionError

    async with server.listen(ECHO, never_reached, MEGABYTE):
        headers = {parts.HEADER: header.format(parts=f"{parts.SUBJECT}.test.evil.1")}
        reply = await caller.ask(ECHO, Message(b"", headers), 5)
    assert reply.headers[ERROR_NAME] == "Malformed"


async def test_an_offer_that_nobody_serves_ends_with_the_callers_time(connect: Connect) -> None:
    server, caller = await connect("test"), await connect("test")
    async with server.listen(ECHO, echoed, MEGABYTE):
        headers = {parts.HEADER: f"9 9 {parts.SUBJECT}.test.gone.1", WITHIN: "5"}
        reply = await caller.ask(ECHO, Message(b"", headers), 5)
        assert reply.headers[ERROR_NAME] == "Absent"
        await all_answered(server)


async def all_answered(server: Bus) -> None:
    """Returns when the service has no request left; in time, whatever its callers do."""
    async with asyncio.timeout(15):
        while waiting := tuple(server.server._working):
            await asyncio.wait(waiting)


async def echoed(message: Message) -> Message:
    return message


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
