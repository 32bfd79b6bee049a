"""Payloads larger than a message: they arrive whole, and are let go whatever becomes of who asked."""

import asyncio

import pytest
from nats.aio.msg import Msg

from shared import parts
from shared.bus import Bus
from shared.calling import encode
from shared.contract import (
    ERROR_NAME,
    PAGE,
    WITHIN,
    Page,
    Selection,
)
from shared.line import Message
from tests.buses import ECHO, MEGABYTE, Connect, echoed


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
