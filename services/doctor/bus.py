"""NATS: whether each server lets us in, what it takes, and what these credentials may do there.

Rights are tried by listening and publishing where nobody is: each subject with a replica's id that there is not. So no
search is taken from a service or sent to one; what a queue group may take is left to its service's own log.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.doctor.places import PATIENCE, told
from services.doctor.report import Subject
from shared import contract, parts
from shared.contract import ENDPOINTS, SERVICES
from shared.line import HEADROOM
from shared.natsclient import SteadyClient
from shared.natsoptions import options
from shared.settings import Settings

LITTLE = 256 * 1024  # bytes of a message, below which large answers need many of them
ROLES = (*SERVICES, "client", "monitor")
CALLER = {**dict.fromkeys(SERVICES, "gateway"), "gateway": "client"}  # who calls each service
LOCAL = {"127.0.0.1", "::1", "localhost"}
_REFUSED = re.compile(r'violation for (subscription|publish) to "(.*?)"')


class Rights(NamedTuple):
    """The subjects somebody needs, with the id of a replica that there is not."""

    listens: set[str]
    publishes: set[str]


class Visit:
    """A connection to one server, and what it said no to."""

    def __init__(self) -> None:
        self.client: Any = SteadyClient()
        self.id = secrets.token_hex(8)
        self.errors: list[str] = []

    async def failed(self, error: Exception) -> None:
        self.errors.append(told(error))

    async def flush(self) -> float:
        """Returns once the server has said all it has to say to what was sent so far; gives the time it took."""
        began = perf_counter()
        await self.client.flush(timeout=PATIENCE)
        return perf_counter() - began

    async def refused(self, wanted: Rights) -> Rights:
        """What we may not, of what was just tried."""
        await self.flush()
        found = {match.groups() for text in self.errors if (match := _REFUSED.search(text))}  # in lower case
        return Rights(
            {subject for subject in wanted.listens if ("subscription", subject.lower()) in found},
            {subject for subject in wanted.publishes if ("publish", subject.lower()) in found},
        )


@asynccontextmanager
async def visiting(settings: Settings, url: str) -> AsyncIterator[Visit]:
    """A connection to one server, tried twice. Raises NatsError, OSError or TimeoutError."""
    visit = Visit()
    given = {**options(settings, "doctor"), "servers": [url], "max_reconnect_attempts": 1}
    try:
        try:
            async with asyncio.timeout(PATIENCE):
                await visit.client.connect(**given, error_cb=visit.failed)
        except (NatsError, OSError, TimeoutError) as error:
            raise NatsError(visit.errors[-1] if visit.errors else told(error)) from error
        yield visit
    finally:
        visit.client.abort()
        await visit.client.close()


async def server(subject: Subject, visit: Visit, url: str) -> None:
    """What one server is like."""
    about, info = urlsplit(url).netloc, visit.client._server_info
    trip = min([await visit.flush() for _ in range(3)])
    encrypted = visit.client._transport._io_writer.get_extra_info("ssl_object")
    with_tls = "with" if encrypted else "without"
    subject.ok(about, f"nats-server {info.get('version')}, {1000 * trip:.1f} ms away, {with_tls} TLS")
    if not encrypted and urlsplit(url).hostname not in LOCAL:
        subject.note(about, "the connection is not encrypted", "use tls:// or CLASSIS_NATS_TLS_CA: docs/security.md")
    limit = visit.client.max_payload
    if limit < HEADROOM + parts.SMALLEST:
        subject.failed(about, f"max_payload is {limit} bytes: too little for the fleet", "max_payload: 1MB")
    elif limit < LITTLE:
        text = f"max_payload is {limit:,} bytes: large answers go in many parts, each a round trip"
        subject.warning(about, text, "max_payload: 1MB, NATS's own advice, in its configuration")
    else:
        subject.ok(about, f"max_payload is {limit:,} bytes")


def needed(role: str, replica: str) -> Rights:
    """What a service, a client or a monitoring tool needs, by the contract."""
    if role == "monitor":
        return Rights({f"_INBOX.{replica}.*"}, {f"$SRV.PING.{replica}"})
    listens = {f"_INBOX_{role}.{replica}.*", f"{parts.SUBJECT}.{role}.{replica}.*"}
    publishes: set[str] = set()
    for endpoint in ENDPOINTS:
        direct = contract.direct(endpoint.subject, replica)
        if endpoint.service == role:
            listens.add(direct)
        if CALLER[endpoint.service] == role:
            publishes.add(direct)
    for service, caller in CALLER.items():
        about = {contract.peers(service), contract.released(service)}
        if service == role:
            listens |= about | {"$SRV.PING", f"$SRV.PING.classis-{service}.{replica}"}
            publishes.add(f"{parts.SUBJECT}.{caller}.{replica}.0")
        if caller == role:
            publishes |= about | {f"{parts.SUBJECT}.{service}.{replica}.0"}
    return Rights(listens, publishes)


async def rights(subject: Subject, visit: Visit, role: str) -> set[str]:
    """What these credentials may be; `role` is what they must be. Gives the roles whose inboxes we may listen to."""
    wanted = {name: needed(name, visit.id) for name in ROLES}
    every = Rights(*(set().union(*sets) for sets in zip(*wanted.values(), strict=True)))
    subscriptions = [await visit.client.subscribe(heard, cb=_nothing) for heard in every.listens]
    for published in every.publishes:
        await visit.client.publish(published, b"")
    refused = await visit.refused(every)
    for subscription in subscriptions:  # NATS tells only one of a client's that nobody listens
        await subscription.unsubscribe()
    missing = {
        name: (needs.listens & refused.listens) | (needs.publishes & refused.publishes)
        for name, needs in wanted.items()
    }
    nearest = min(ROLES, key=lambda name: len(missing[name]) / len(wanted[name].listens | wanted[name].publishes))
    _report_rights(subject, {name: _shown(lack, visit.id) for name, lack in missing.items()}, role or nearest)
    inboxes = {name: f"_INBOX{'' if name == 'monitor' else f'_{name}'}.{visit.id}.*" for name in ROLES}
    return {name for name, inbox in inboxes.items() if inbox not in refused.listens}


def _shown(subjects: set[str], replica: str) -> list[str]:
    return sorted(subject.replace(replica, "*") for subject in subjects)


def _report_rights(subject: Subject, missing: dict[str, list[str]], wanted: str) -> None:
    able = [name for name, lack in missing.items() if not lack]
    if len(able) == len(missing):
        text = "these credentials may do everything that anybody of the fleet does"
        subject.note("rights", text, "deploy/nats.conf has a user for each service: docs/security.md")
    elif wanted in able:
        subject.ok("rights", f"these credentials suit {' and '.join(able)}")
    else:
        few = ", ".join(missing[wanted][:4]) + (f" and {len(missing[wanted]) - 4} more" if missing[wanted][4:] else "")
        then = "compare NATS's configuration with deploy/nats.conf, and see CLASSIS_NATS_USER"
        subject.failed("rights", f"these credentials lack, of what {wanted} needs, {few}", then)


async def _nothing(_: Msg) -> None:
    """Nobody sends anything there."""
