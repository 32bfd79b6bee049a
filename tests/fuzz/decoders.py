"""The decoders, in this process: nothing but the declared errors comes out, and what is accepted compiles.

Each target takes bytes and says whether it accepted them. Hypothesis feeds them in `make test`, libFuzzer in `make fuzz`.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from services import flows, work_pools
from services.deployments import statements
from services.gateway import decode, problems, validation
from services.gateway.decode import Unsettled
from services.gateway.plan import plan
from services.gateway.validation import Invalid, LimitOutOfRange, Undecodable
from services.runs import select as runs
from shared import instants, parts
from shared.contract import ENDPOINTS, FLOWS, PAGE, RUNS, WORK_POOLS, Endpoint
from shared.entity import select
from shared.errors import Malformed
from shared.filters import Count, Filter, Paginate
from tests.fuzz import bodies, by_bus, chance
from tests.fuzz.bodies import Searches
from tests.fuzz.ground import Ground
from tests.fuzz.tally import ROOT, Finding, Tally

LARGEST = 200
CORPUS = 300  # examples that libFuzzer begins with
KINDS: Sequence[type[Count]] = (Filter, Paginate, Count)
INTERNAL = [endpoint for endpoint in ENDPOINTS if not endpoint.public]
DECODERS = {endpoint: msgspec.msgpack.Decoder(endpoint.request) for endpoint in INTERNAL}
ENTITIES = {FLOWS: flows.ENTITY, WORK_POOLS: work_pools.ENTITY}


def body(data: bytes) -> bool:
    """A search in JSON; the first byte says which. The short way and the long way give the same search."""
    kind, text = KINDS[data[0] % 3] if data else Filter, data[1:]
    try:
        found = decode.read(kind, text, LARGEST)
        search = decode.settled(found, LARGEST)
    except (Invalid, LimitOutOfRange, Undecodable) as error:
        return _refused(error)
    if text and not isinstance(found, Unsettled):
        try:
            long = validation.search(kind, json.loads(text), LARGEST)
        except (Invalid, LimitOutOfRange, Undecodable, ValueError) as error:
            raise Finding(f"the short way takes what the long way refuses with {error!r}: {text!r}") from error
        if long != search:
            raise Finding(f"the short way reads {search}, the long way {long}")
    return _asked(search)


def packed(data: bytes) -> bool:
    """A search in MessagePack."""
    kind, text = KINDS[data[0] % 3] if data else Filter, data[1:]
    try:
        search = decode.settled(decode.read_msgpack(kind, text), LARGEST)
    except (Invalid, LimitOutOfRange, Undecodable) as error:
        return _refused(error)
    return _asked(search)


def message(data: bytes) -> bool:
    """What the services send each other; the first byte says on which subject."""
    endpoint = INTERNAL[data[0] % len(INTERNAL)] if data else PAGE
    try:
        request = DECODERS[endpoint].decode(data[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    _compiled(endpoint, request)
    return True


def text(data: bytes) -> bool:
    """An instant, or the header of an offer."""
    given = data.decode(errors="replace")
    taken = 0
    try:
        moment = instants.parse(given)
        taken += 1
        if instants.parse(instants.render(moment)) != moment:
            raise Finding(f"{moment!r} is printed as another instant")
    except ValueError:
        pass
    try:
        offer = parts.read(given, parts.LARGEST)
        taken += 1
        if parts.read(offer.header(), parts.LARGEST) != offer:
            raise Finding(f"{offer} is written as another")
    except Malformed:
        pass
    return taken > 0


TARGETS: dict[str, Callable[[bytes], bool]] = {each.__name__: each for each in (body, packed, message, text)}


def _refused(error: Exception) -> bool:
    """The answer to it can be written, as JSON and as MessagePack."""
    answer = problems.answer_to(error)
    if answer.status not in {400, 422}:
        raise Finding(f"{error!r} is answered with {answer.status}") from error
    json.loads(answer.body)
    return False


def _asked(search: Count) -> bool:
    """What is asked of the services arrives there as it was sent, and compiles."""
    legs, selection = plan(search, LARGEST)
    calls = [*legs.values(), (RUNS if isinstance(selection, RUNS.request) else PAGE, selection)]
    for endpoint, call in calls:
        arrived = DECODERS[endpoint].decode(by_bus.encode(call))
        if arrived != call:
            raise Finding(f"{call} arrives as {arrived}")
        _compiled(endpoint, arrived)
    return True


def _compiled(endpoint: Endpoint[Any, Any], request: Any) -> None:
    """The statements have as many parameters as arguments."""
    made: list[tuple[str, Sequence[Any]]] = []
    if endpoint in ENTITIES:
        made = [select(ENTITIES[endpoint], request)]
    elif endpoint is RUNS:
        made = [runs.question(request).statement(strategy) for strategy in runs.OWNS]
    elif endpoint is PAGE:
        made = [statements.page(request), statements.count(request)]
    for statement, arguments in made:
        if arguments and f"${len(arguments)}::" not in statement:
            raise Finding(f"{len(arguments)} arguments for {statement}")


# --- what they are fed with


def strategies(found: Searches) -> dict[str, st.SearchStrategy[bytes]]:
    """For each target, data that is nearly right."""
    first = st.integers(0, 255).map(lambda number: bytes([number]))
    headers = st.sampled_from(by_bus.VALUES).map(lambda value: value.encode(errors="replace"))
    moments = st.sampled_from(bodies.TEXTS).map(lambda value: value.encode(errors="replace"))
    return {
        "body": st.builds(bytes.__add__, first, bodies.texts(found)),
        "packed": st.builds(bytes.__add__, first, bodies.packed(found)),
        "message": st.one_of(
            by_bus.messages(found).map(_with_endpoint), st.builds(bytes.__add__, first, bodies.packed(found))
        ),
        "text": headers | moments | st.datetimes(timezones=st.timezones()).map(lambda value: str(value).encode()),
    }


def _with_endpoint(sent: tuple[Endpoint[Any, Any], Any]) -> bytes:
    endpoint, made = sent
    return bytes([INTERNAL.index(endpoint)]) + by_bus.encode(made)


def with_decoders(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Every target, by Hypothesis."""

    def check(case: tuple[tuple[str, bytes], int]) -> None:
        (name, data), start = case
        for variant in chance.variants(data, start, by_bus.VARIANTS):
            tally.add(200 if TARGETS[name](variant) else 400)

    made = [st.tuples(st.just(name), data) for name, data in strategies(ground.searches).items()]
    chance.examples(st.tuples(st.one_of(made), st.integers(0, 2**32)), number // by_bus.VARIANTS, seed, check)


def with_coverage(ground: Ground, tally: Tally, number: int, seed: int) -> None:
    """Every target, by libFuzzer, each in a process of its own. Raises Finding with what such a process says."""
    for name, data in strategies(ground.searches).items():
        with tempfile.TemporaryDirectory() as folder:
            _corpus(Path(folder), data, seed)
            command = [
                sys.executable,
                "-m",
                "tests.fuzz.coverage",
                name,
                str(number // len(TARGETS)),
                str(seed + 1),
                folder,
            ]
            ended = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
        if ended.returncode:
            tally.crashes += 1
            raise Finding(f"{name}: {ended.stdout[-4000:].decode()} {ended.stderr[-6000:].decode(errors='replace')}")
        done, accepted = map(int, ended.stdout.split()[-2:])
        tally.add_many(accepted, done - accepted)


def _corpus(folder: Path, data: st.SearchStrategy[bytes], seed: int) -> None:
    """Some small examples, as the files that libFuzzer begins with."""

    def keep(example: bytes) -> None:
        if len(example) < 4096:
            (folder / hashlib.sha256(example).hexdigest()).write_bytes(example)

    chance.examples(data, CORPUS, seed, keep)
