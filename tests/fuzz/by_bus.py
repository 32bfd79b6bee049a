"""The bus: odd messages on every subject of the contract, with and without a reply address, with odd headers."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from services.gateway import decode
from services.gateway.plan import plan
from services.gateway.validation import Invalid, LimitOutOfRange, Undecodable
from shared import contract, parts
from shared.contract import BY_ID, BY_NAME, COUNT, ENDPOINTS, PAGE, READY, RUNS, SERVICES, Call, Endpoint, Readiness
from shared.filters import Filter
from tests.fuzz import bodies, chance
from tests.fuzz.bodies import Draw, Searches
from tests.fuzz.ground import Ground
from tests.fuzz.tally import Finding, Tally
from tests.fuzz.wire import Nats, Reply, nats

encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
INTERNAL = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
OWN_PARTS = f"{parts.SUBJECT}.fuzz.0.1"  # where the parts of our own offers are fetched
WITHIN = 4.0  # seconds that a good message allows
FEW = 0.05  # seconds in which a message that may well have no reply gets one
NAMES = [
    contract.CONTENT_TYPE, contract.WITHIN, contract.REQUEST_ID, contract.TRACEPARENT, contract.ERROR_CODE, contract.ERROR_NAME,
    parts.HEADER, "classis-within", "CONTENT-TYPE", "Status", "Description", "Nats-Msg-Id", "X-" + "y" * 500, "a",
]  # fmt: skip
VALUES = [
    "", " ", "0", "-1", "nan", "inf", "-inf", "1e-9", "1e999", "0x1", "1_0", "five", "0.01", "\u0661", "\0", "é", "\u2028", "9" * 5000, "503", "500",
    contract.MSGPACK, "Application/MsgPack; a=b", "application/json", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a b",
    f"10 10 {OWN_PARTS}", f"3000 1024 {OWN_PARTS}", f"0 0 {OWN_PARTS}", f"3000 1 {OWN_PARTS}", f"-1 5 {OWN_PARTS}", f"9999999999 9999999999 {OWN_PARTS}",
    f"1073741824 1024 {OWN_PARTS}", f"5 5 {parts.SUBJECT}.x.y.1", f"5 5 {parts.SUBJECT}.>", "5 5 classis.v1.deployments.count", "5 5 $SYS.x",
    f"5 5 {OWN_PARTS} ", f"5  5 {OWN_PARTS}", "5", "5 5", f"\u0665 5 {OWN_PARTS}", f"5 5 {OWN_PARTS}\t",
]  # fmt: skip
VARIANTS = 10  # of one message
BLOCKS = [
    b"NATS/1.0\r\n\r\n", b"NATS/1.0 503\r\n\r\n", b"NATS/1.0 100 Idle\r\n\r\n", b"NATS/1.0\r\nx\r\n\r\n", b"NATS/1.0\r\n: x\r\n\r\n", b"NATS/1.0",
    b"NATS/1.0\r\nA: b", b"NATS/1.0\r\nA: b\r\n c\r\n\r\n", b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n", b"NATS/1.0\nA: b\n\n", b"NATS/9.9\r\nA: b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n", b"\0" * 20, b"\r\n\r\n", b"\xff", b"NATS/1.0\r\n" + b"a: b\r\n" * 2000 + b"\r\n", b"NATS/1.0\r\nA b: c\r\n\r\n",
    b"NATS/1.0\r\nA: b\r\nA: c\r\n\r\n", b"NATS/1.0\r\n \r\n\r\n", b"NATS/1.0\r\n\r\nA: b\r\n\r\n", b"NATS/1.0 \xff\r\n\r\n",
]  # fmt: skip
PARTS = [b"", b"12345", b"1234567890", b"x" * 1024, b"x" * 952, b"x" * 100_000, b"{}", b"null ", None]


@dataclass(frozen=True)
class Sent:
    """One message. `right` is a good one, which must be answered; `whole` has headers that can be read, if any."""

    subject: str
    service: str
    payload: bytes
    headers: bytes = b""
    asked: bool = True
    right: bool = False
    whole: bool = True
    parts: tuple[bytes | None, ...] = ()


# --- messages


@st.composite
def headers(draw: Draw) -> tuple[bytes, bool]:
    """A block of headers, mostly none, and whether it is well formed."""
    kind = draw(st.integers(0, 9))
    if kind < 6:
        return b"", True
    if kind == 9:
        return draw(st.sampled_from(BLOCKS)), False
    pairs = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), min_size=1, max_size=3))
    if any(parts.HEADER in pair for pair in pairs):
        pairs.append((contract.WITHIN, "0.3"))  # nobody may serve the parts
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"NATS/1.0\r\n{lines}\r\n".encode(), True


@st.composite
def public(draw: Draw, found: Searches) -> Sent:
    """A search as JSON or MessagePack, rightly told as such or not."""
    endpoint = draw(st.sampled_from([endpoint for endpoint in ENDPOINTS if endpoint.public]))
    block, whole = draw(headers())
    packed = draw(st.booleans())
    if packed and not block:
        block = f"NATS/1.0\r\n{contract.CONTENT_TYPE}: {contract.MSGPACK}\r\n\r\n".encode()
    payload = draw(bodies.packed(found) if packed else bodies.texts(found))[:900_000]
    return _sent(draw, endpoint, payload, block, whole)


@st.composite
def internal(draw: Draw, found: Searches) -> Sent:
    """What the services say to each other, bent or damaged; now and then right."""
    endpoint, message = draw(messages(found))
    block, whole = draw(headers())
    payload = encode(message)
    match draw(st.sampled_from(["right", "bent", "bent", "bent", "damaged", "raw"])):
        case "right":
            return _sent(draw, endpoint, payload, block, whole, right=not block)
        case "bent":
            payload = bodies.pack(
                bodies.bent(draw, msgspec.msgpack.decode(payload), draw(bodies.VALUES | bodies.PACKABLE))
            )
        case "damaged":
            payload = bodies.damaged(draw, payload)
        case "raw":
            payload = draw(st.binary(max_size=100) | bodies.packed(found))[:900_000]
    return _sent(draw, endpoint, payload, block, whole)


def messages(found: Searches) -> st.SearchStrategy[tuple[Endpoint[Any, Any], Call]]:
    """Good messages, with their endpoints: those that a search makes, and the simple ones."""
    simple: list[tuple[Endpoint[Any, Any], Call]] = [
        *((endpoint, Readiness(within=WITHIN)) for endpoint in READY.values()),
        (BY_ID, BY_ID.request(within=WITHIN, id=UUID(int=1))),
        (BY_NAME, BY_NAME.request(within=WITHIN, flow="f", deployment="d")),
    ]
    planned = found.map(_planned).filter(bool).flatmap(st.sampled_from)
    return st.one_of(planned, planned, planned, st.sampled_from(simple))


def _planned(body: Any) -> list[tuple[Endpoint[Any, Any], Call]]:
    try:
        made = plan(decode.settled(decode.read(Filter, json.dumps(body).encode(), 200), 200), 200)
    except (Invalid, Undecodable, LimitOutOfRange):
        return []
    last = RUNS if isinstance(made.selection, contract.RunLeg) else PAGE
    calls = [*made.legs.values(), (last, made.selection)]
    return [(endpoint, msgspec.structs.replace(call, within=WITHIN)) for endpoint, call in calls]


def _sent(
    draw: Draw, endpoint: Endpoint[Any, Any], payload: bytes, block: bytes, whole: bool, *, right: bool = False
) -> Sent:
    asked = draw(st.integers(0, 9)) < 8
    served = tuple(draw(st.lists(st.sampled_from(PARTS), max_size=6))) if b"Classis-Parts" in block else ()
    return Sent(endpoint.subject, endpoint.service, payload, block, asked, right, whole, served)


@st.composite
def others(draw: Draw, subjects: Sequence[str]) -> Sent:
    """Anything, to the subjects that are no endpoints. Most of them reply to hardly anything."""
    subject = draw(st.sampled_from(subjects))
    block, _ = draw(headers())
    payload = draw(
        st.binary(max_size=50)
        | st.sampled_from([b"0", b"-1", b"999999999999", b"\xb2", b"{}", b"_INBOX.x.1", b"1" * 5000])
    )
    return Sent(subject, "", payload, block, draw(st.booleans()), whole=False)


def subjects(line: Nats) -> list[str]:
    """All that a fleet hears besides its endpoints, and each endpoint's subject of one replica."""
    return list(_subjects(line))


def _subjects(line: Nats) -> Iterator[str]:
    for service in SERVICES:
        yield contract.peers(service)
        yield contract.released(service)
        if not (ping := line.ask(f"$SRV.PING.classis-{service}", b"")) or ping.status != 200:
            raise Finding(f"{service} does not answer $SRV.PING")
        replica = json.loads(ping.payload)["id"]
        yield f"{parts.SUBJECT}.{service}.{replica}.0"
        yield f"{parts.SUBJECT}.{service}.{replica}.x"
        for verb in ("PING", "INFO", "STATS"):
            yield from (f"$SRV.{verb}.classis-{service}", f"$SRV.{verb}.classis-{service}.{replica}")
        for endpoint in ENDPOINTS:
            if endpoint.service == service:
                yield contract.direct(endpoint.subject, replica)
    yield from ("$SRV.PING", "$SRV.INFO", "$SRV.STATS", "classis.v1.nobody", "classis.v1.deployments")


# --- sending them


def with_searches(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Odd messages on the public subjects."""
    _with(ground, tally, public(ground.searches), number, seed)


def with_internals(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Odd messages on the internal subjects."""
    _with(ground, tally, internal(ground.searches), number, seed)


def with_others(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Odd messages on all that is heard besides."""
    with nats(ground.fleet.nats_url) as line:
        heard = subjects(line)
    _with(ground, tally, others(heard), number, seed)


def _with(ground: Ground, tally: Tally, strategy: st.SearchStrategy[Sent], number: int, seed: int) -> None:
    with nats(ground.fleet.nats_url) as line:
        line.send(f"SUB {OWN_PARTS} 2")
        line.settled()

        def check(case: tuple[Sent, int]) -> None:
            sent, start = case
            for payload in chance.variants(sent.payload, start, VARIANTS):
                right = sent.right and payload is sent.payload
                _one(line, replace(sent, payload=payload, right=right), tally, ground)
            _still_answers(line, sent.service or "gateway")

        chance.examples(st.tuples(strategy, st.integers(0, 2**32)), number // VARIANTS, seed, check)


def _one(line: Nats, sent: Sent, tally: Tally, ground: Ground) -> None:
    if not sent.asked:
        line.publish(sent.subject, sent.payload, sent.headers)
        tally.add(None)
        return
    line.heard = _serving(line, sent.parts)
    reply = line.ask(sent.subject, sent.payload, sent.headers, *(() if sent.whole else (FEW,)))
    try:
        if reply is None and sent.whole:
            tally.crashes += 1
            ground.check()
            raise Finding("no reply")
        _judge(reply, sent, tally, ground)
    except Finding as found:
        found.add_note(f"{sent.subject} {sent.headers[:500]!r} {sent.payload[:2000]!r}")
        raise


def _judge(reply: Reply | None, sent: Sent, tally: Tally, ground: Ground) -> None:
    """Raises Finding for a reply that must not be."""
    if reply is None:
        tally.add(None)
        return
    tally.add(reply.status, reply.payload + str(reply.headers).encode(), ground.leaks)
    name = reply.headers.get(contract.ERROR_NAME, "")
    if sent.right and reply.status != 200:
        raise Finding(f"a good message is answered with {reply.status} {name}")
    if sent.service and "Status" in reply.headers:
        raise Finding("nobody listens")
    if name in {"DatabaseDown", "Disconnected", "Busy", "Broken"}:
        raise Finding(f"answered with {name}")
    if reply.status == 503 and name == "Search failed" and not sent.headers:
        raise Finding("a search that allows all the time is answered with 503")


def _serving(line: Nats, pieces: Sequence[bytes | None]) -> Callable[[Reply], None]:
    """Replies to whoever fetches parts from us, piece after piece; None is no reply."""
    left = iter(pieces)

    def heard(fetch: Reply) -> None:
        piece = next(left, b"")
        if fetch.reply and piece is not None:
            line.publish(fetch.reply, piece)

    return heard


def _still_answers(line: Nats, service: str) -> None:
    """A good message is answered as ever. Raises Finding."""
    if service == "gateway":
        reply = line.ask(COUNT.subject, b"{}")
    else:
        reply = line.ask(READY[service].subject, encode(Readiness(within=WITHIN)))
    if reply is None or reply.status != 200:
        raise Finding(f"{service} does not answer any more: {reply}")
