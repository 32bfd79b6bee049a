"""Who of the fleet answers on the bus: replicas and their versions, and whether the services reach their databases."""

import asyncio
from collections import defaultdict
from time import perf_counter

import msgspec
from nats.aio.msg import Msg

import shared
from services.doctor.bus import Visit
from services.doctor.places import PATIENCE
from services.doctor.report import Subject
from shared import contract
from shared.contract import ERROR_NAME, READY, SERVICES, Peer, Readiness

LISTENING = 0.5  # seconds that replicas get to introduce themselves
NOBODY = "503"  # NATS's own status: nobody listens
GATEWAY = "log in as the user gateway, which sees the most (CLASSIS_NATS_USER=gateway): docs/security.md"
MONITOR = "log in as the user monitor to see them (CLASSIS_NATS_USER=monitor): docs/security.md"
FAILS = "searches that need it fail"
FALLS_BACK = "searches that need it go to Prefect's server, a few at a time"
UNKNOWN = ""  # the version of a replica that we may not ask for it
Replicas = dict[str, dict[str, str]]  # by service and id: the version


class Post:
    """An inbox: what arrived, by the last word of its address, and when."""

    def __init__(self, visit: Visit, role: str) -> None:
        self._visit = visit
        self._inbox = f"_INBOX{'' if role == 'monitor' else f'_{role}'}.{visit.id}"
        self.arrived: defaultdict[str, list[tuple[Msg, float]]] = defaultdict(list)
        self._news = asyncio.Event()

    async def open(self) -> None:
        await self._visit.client.subscribe(f"{self._inbox}.*", cb=self._on_message)

    async def _on_message(self, msg: Msg) -> None:
        self.arrived[msg.subject.rpartition(".")[2]].append((msg, perf_counter()))
        self._news.set()

    async def ask(self, subject: str, word: str, payload: bytes = b"") -> bool:
        """Asks for replies under a word. False when we may not."""
        await self._visit.client.publish(subject, payload, f"{self._inbox}.{word}")
        await self._visit.flush()
        return not any(f'publish to "{subject.lower()}"' in error for error in self._visit.errors)

    async def heard(self, words: set[str], within: float) -> None:
        """Returns once there is a reply under each word, or the time is over."""
        try:
            async with asyncio.timeout(within):
                while not words <= self.arrived.keys():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return


async def check(subject: Subject, visit: Visit, roles: set[str], falls_back: bool) -> None:
    """`roles` are those whose inboxes we may listen to; with `falls_back`, Prefect's server stands in."""
    if not roles:
        subject.note("", "these credentials may hear no replies: who runs is not known", GATEWAY)
        return
    post = Post(visit, min(roles))
    await post.open()
    replicas = await _replicas(post)
    if replicas is None:
        subject.note("", "these credentials may not ask who runs", GATEWAY)
        return
    _present(subject, replicas, FALLS_BACK if falls_back else FAILS)
    if "gateway" in replicas:
        _versions(subject, replicas)
    else:
        text = "these credentials may not ask for versions, and whether a gateway runs"
        subject.note("", text, MONITOR)
    await _ready(subject, post, replicas)


async def _replicas(post: Post) -> Replicas | None:
    """Who runs. None when we may ask in neither way."""
    found: Replicas = {service: {} for service in SERVICES}
    if await post.ask("$SRV.PING", "ping"):
        await asyncio.sleep(LISTENING)
        for msg, _ in post.arrived["ping"]:
            introduced(found, msg.data)
        return found
    if not all([await post.ask(contract.peers(service), service) for service in READY]):
        return None
    await asyncio.sleep(LISTENING)
    for service in READY:
        found[service] = {peer.id: UNKNOWN for msg, _ in post.arrived[service] if (peer := _peer(msg.data))}
    del found["gateway"]  # only clients may ask for it
    return found


def _peer(data: bytes) -> Peer | None:
    try:
        return msgspec.msgpack.decode(data, type=Peer)
    except msgspec.MsgspecError:  # NATS's own word that nobody listens is empty
        return None


def introduced(found: Replicas, data: bytes) -> None:
    """Adds a replica of ours; other services of NATS may reply too."""
    try:
        told = msgspec.json.decode(data)
        service, who, version = told["name"].removeprefix("classis-"), str(told["id"]), str(told["version"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return
    if told["name"] != service and service in found:
        found[service][who] = version


def _present(subject: Subject, replicas: Replicas, then: str) -> None:
    if not any(replicas.values()):
        subject.note("", "nothing of the fleet runs on this NATS, in this account", "classis run all, or each service")
        return
    for service in (name for name, found in replicas.items() if not found):
        lost = FAILS if service == "gateway" else then
        subject.failed(service, f"nobody answers: {lost}", f"see that it runs (classis run {service}), and its log")
    if lonely := [name for name, found in replicas.items() if len(found) == 1]:
        text = f"1 replica of each: while it is away, {then}"
        subject.note(", ".join(lonely), text, "run another one of each, on another machine if you can")
    if several := [f"{len(found)} {name}" for name, found in replicas.items() if len(found) > 1]:
        subject.ok("", f"replicas: {', '.join(several)}")


def _versions(subject: Subject, replicas: Replicas) -> None:
    found = sorted({version for each in replicas.values() for version in each.values()} - {UNKNOWN})
    by_version = {version: [name for name, each in replicas.items() if version in each.values()] for version in found}
    if len(found) > 1:
        told = "; ".join(f"{version}: {', '.join(names)}" for version, names in by_version.items())
        subject.warning("versions", f"different versions run side by side ({told})", "finish the update")
    elif found and found[0] != shared.VERSION:
        subject.note(
            "versions", f"the fleet is {found[0]}, this doctor is {shared.VERSION}", "run the doctor of the same image"
        )
    elif found:
        subject.ok("versions", f"all are {found[0]}")


async def _ready(subject: Subject, post: Post, replicas: Replicas) -> None:
    """Asks each service that runs whether it reaches its database, where we may."""
    asked: dict[str, float] = {}
    running = [service for service in READY if replicas.get(service)]
    for service in running:
        began = perf_counter()
        payload = msgspec.msgpack.encode(Readiness(within=PATIENCE))
        if await post.ask(READY[service].subject, f"ready-{service}", payload):
            asked[service] = began
    if unasked := [service for service in running if service not in asked]:
        text = f"these credentials may not ask {', '.join(unasked)} whether they reach their databases"
        subject.note("", text, GATEWAY)
    await post.heard({f"ready-{service}" for service in asked}, PATIENCE)
    for service, began in asked.items():
        then = f"see the log of `classis run {service}`"
        if not (replies := post.arrived.get(f"ready-{service}")):
            subject.failed(service, f"said nothing within {PATIENCE:.0f} s when asked for its database", then)
            continue
        msg, when = replies[0]
        headers = msg.headers or {}
        if headers.get("Status") == NOBODY:
            text = f"runs, but does not listen on {READY[service].subject}"
            subject.failed(service, text, f"{then}; its NATS user may lack rights: deploy/nats.conf")
        elif error := headers.get(ERROR_NAME):
            subject.failed(service, f"cannot work ({error})", then)
        else:
            subject.ok(service, f"answers, and reaches its database, in {1000 * (when - began):.1f} ms")
