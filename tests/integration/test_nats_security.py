"""NATS with deploy/nats.conf: every user may do what its service does, and nothing else."""

import asyncio
import base64
import json
import os
import re
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import nkeys  # type: ignore[import-untyped]
import pytest
from nats.aio.msg import Msg

from services import embedded
from shared import contract
from shared.bus import connect
from shared.calling import ATTEMPTS
from shared.client import Fleet
from shared.contract import ENDPOINTS, SERVICES
from shared.filters import Paginate
from shared.natsclient import SteadyClient
from shared.natsoptions import options
from shared.settings import Settings
from tests import secured
from tests.conftest import SCHEMA, folder
from tests.relay import relay
from tests.secured import PASSWORDS, USERS

REPLICA = "0123456789abcdef"
VERBS = ("PING", "INFO", "STATS")
CALLERS = {service: {"gateway"} for service in SERVICES[:-1]} | {"gateway": {"client"}}


@pytest.fixture(scope="module")
def guarded_url() -> Iterator[str]:
    with folder() as home, secured.nats(home) as url:
        yield url


class User:
    """A connection of one user, and what NATS refused it."""

    def __init__(self) -> None:
        self.client = SteadyClient()
        self.errors: list[str] = []

    async def told(self, error: Exception) -> None:
        self.errors.append(str(error))

    async def allowed(self, asked: set[str]) -> set[str]:
        """What is left of the subjects asked, a queue group behind a blank, without those that NATS refused so far."""
        await self.client.flush()
        found = [re.search(r'violation for \w+ to "(.*?)"(?: using queue "(.*?)")?', told) for told in self.errors]
        refused = {" ".join(filter(None, match.groups())) for match in found if match}
        return {subject for subject in asked if subject.lower() not in refused}  # nats-py tells errors in lower case


@asynccontextmanager
async def logged_in(url: str, user: str, **settings: Any) -> AsyncIterator[User]:
    made = User()
    settings = {"nats_user": user, "nats_password": PASSWORDS.get(user, ""), **settings}
    await made.client.connect(**options(Settings(nats_url=url, **settings), user), error_cb=made.told)
    try:
        yield made
    finally:
        await made.client.close()


class Rights(NamedTuple):
    listens: set[str]  # a queue group stands behind a blank
    publishes: set[str]


def rights(user: str) -> Rights:
    """What a user needs, by the contract."""
    if user == "monitor":
        return Rights({"_INBOX.x.*"}, {f"$SRV.{verb}{who}" for verb in VERBS for who in ("", ".x", ".x.y")})
    listens = {f"_INBOX_{user}.x.*", f"classis.v1.parts.{user}.{REPLICA}.*"}
    publishes = set()
    for endpoint in ENDPOINTS:
        direct = contract.direct(endpoint.subject, REPLICA)
        if endpoint.service == user:
            listens |= {f"{endpoint.subject} {user}", direct}
        if user in CALLERS[endpoint.service]:
            publishes |= {endpoint.subject, direct}
    for service in SERVICES:
        about = {contract.peers(service), contract.released(service)}
        if service == user:
            names = ("", f".classis-{service}", f".classis-{service}.{REPLICA}")
            listens |= about | {f"$SRV.{verb}{name}" for verb in VERBS for name in names}
        if user in CALLERS[service]:
            publishes |= about | {f"classis.v1.parts.{service}.{REPLICA}.7"}
        elif user == service:
            publishes |= {f"classis.v1.parts.{caller}.{REPLICA}.7" for caller in CALLERS[service]}
    return Rights(listens, publishes)


EVERYTHING = Rights(
    set().union(
        *(rights(user).listens for user in USERS),
        *({endpoint.subject, f"{endpoint.subject} other"} for endpoint in ENDPOINTS),
        {">", "*", "classis.>", "classis.v1.>", "_INBOX.>", "*.>", "_INBOX_gateway.>", "_INBOX_client.>"},
        {"classis.v1.parts.>", "$SYS.>", "$JS.>", "$SRV.>", "other"},
    ),
    set().union(
        *(rights(user).publishes for user in USERS),
        {f"_INBOX_{user}.x.1" for user in USERS} | {"_INBOX.x.1", "$SYS.REQ.SERVER.PING", "$JS.API.INFO", "other"},
    ),
)


@pytest.mark.parametrize("user", USERS)
async def test_a_user_may_listen_to_what_it_answers_and_no_more(guarded_url: str, user: str) -> None:
    own = {"_INBOX_client.>": "client", "_INBOX_gateway.>": "gateway", "_INBOX.>": "monitor"}
    allowed = rights(user).listens | {subject for subject, owner in own.items() if owner == user}
    async with logged_in(guarded_url, user) as made:
        for subject in EVERYTHING.listens:
            name, _, queue = subject.partition(" ")
            await made.client.subscribe(name, queue)
        assert await made.allowed(EVERYTHING.listens) == allowed


@pytest.mark.parametrize("user", USERS)
async def test_a_user_may_publish_what_it_asks_and_no_more(guarded_url: str, user: str) -> None:
    async with logged_in(guarded_url, user) as made:
        for subject in EVERYTHING.publishes:
            await made.client.publish(subject, b"")
        assert await made.allowed(EVERYTHING.publishes) == rights(user).publishes


async def test_a_reply_goes_to_who_asked(guarded_url: str) -> None:
    async with logged_in(guarded_url, "flows") as flows, logged_in(guarded_url, "monitor") as monitor:
        await flows.client.subscribe("$SRV.PING", cb=answer)
        await flows.client.flush()
        replies = await monitor.client.subscribe("_INBOX.tool")
        await monitor.client.publish("$SRV.PING", b"", "_INBOX.tool")
        assert (await replies.next_msg(5)).data == b"here"


async def answer(msg: Msg) -> None:
    await msg.respond(b"here")


@pytest.mark.parametrize("answered", [True, False])
async def test_a_call_that_is_sent_again_has_its_reply(guarded_url: str, answered: bool) -> None:
    """It has the same reply address each time. Either each is answered, or the last only."""
    asked: asyncio.Queue[Msg] = asyncio.Queue()
    async with logged_in(guarded_url, "flows") as flows, logged_in(guarded_url, "gateway") as gateway:
        await flows.client.subscribe("classis.v1.flows.keys", "flows", cb=asked.put)
        await flows.client.flush()
        inbox = gateway.client.new_inbox()
        replies = await gateway.client.subscribe(inbox)
        for attempt in range(1, ATTEMPTS + 1):
            await gateway.client.publish("classis.v1.flows.keys", b"", inbox)
            msg = await asked.get()
            if answered or attempt == ATTEMPTS:
                await msg.respond(b"here")
                assert (await replies.next_msg(5)).data == b"here"
        assert not flows.errors


@pytest.mark.parametrize(
    "settings",
    [
        {"nats_password": "wrong"},
        {"nats_user": "nobody"},
        {"nats_user": "", "nats_password": ""},
        {"nats_user": "", "nats_password": "", "nats_token": "pass"},
    ],
)
async def test_who_does_not_log_in_is_refused_and_keeps_trying(guarded_url: str, settings: dict[str, str]) -> None:
    refusals: asyncio.Queue[Exception] = asyncio.Queue()
    settings = {"nats_user": "flows", "nats_password": PASSWORDS["flows"], **settings}
    given = options(Settings(nats_url=guarded_url, **settings), "flows")  # type: ignore[arg-type]
    client = SteadyClient()
    trying = asyncio.create_task(client.connect(**given, error_cb=refusals.put))
    async with asyncio.timeout(10):
        for _ in range(3):
            while "Authorization Violation" not in str(await refusals.get()):
                pass  # the server's last word is lost when it hangs up while we still talk
    trying.cancel()
    await asyncio.wait([trying])
    client.abort()
    assert trying.cancelled()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # nats-py forgets an attempt to reconnect that failed
async def test_a_password_that_changes_is_a_wait_not_an_end(home: Path) -> None:
    """The server comes back with another password, then with ours."""
    back, refusals = asyncio.Event(), asyncio.Queue[Exception]()

    async def returned() -> None:
        back.set()

    client = SteadyClient()
    with secured.nats(home) as url:
        settings = Settings(nats_url=url, nats_user="flows", nats_password=PASSWORDS["flows"])
        await client.connect(**options(settings, "flows"), error_cb=refusals.put, reconnected_cb=returned)
    port = int(url.rpartition(":")[2])
    async with asyncio.timeout(20):
        with secured.nats(home, port=port, flows="another"):
            while "Authorization Violation" not in str(await refusals.get()):
                pass
        with secured.nats(home, port=port):
            await back.wait()
            await client.flush()
    await client.close()


# --- other ways to log in


def key_pair(kind: bytes) -> tuple[bytes, Any]:
    """The seed and the pair of a new key of an (O)perator, an (A)ccount or a (U)ser."""
    prefix = {b"O": nkeys.PREFIX_BYTE_OPERATOR, b"A": nkeys.PREFIX_BYTE_ACCOUNT, b"U": nkeys.PREFIX_BYTE_USER}[kind]
    seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
    return seed, nkeys.from_seed(bytearray(seed))


def signed(issuer: Any, subject: Any, **claims: Any) -> str:
    """A JWT as NATS reads it."""

    def packed(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    who = {"iss": issuer.public_key.decode(), "sub": subject.public_key.decode(), "name": "test", "iat": 1, "jti": "x"}
    text = packed({"typ": "JWT", "alg": "ed25519-nkey"}) + b"." + packed({**who, "nats": {"version": 2, **claims}})
    return (text + b"." + base64.urlsafe_b64encode(issuer.sign(text)).rstrip(b"=")).decode()


def by_token(_: Path) -> tuple[str, dict[str, str]]:
    return "authorization {token: a-token}", {"nats_token": "a-token"}


def by_nkey(folder: Path) -> tuple[str, dict[str, str]]:
    seed, pair = key_pair(b"U")
    (folder / "seed").write_bytes(seed)
    return f"authorization {{users: [{{nkey: {pair.public_key.decode()}}}]}}", {"nats_nkey_seed": str(folder / "seed")}


def by_credentials(folder: Path) -> tuple[str, dict[str, str]]:
    (_, operator), (_, account), (seed, user) = map(key_pair, (b"O", b"A", b"U"))
    jwt = signed(account, user, type="user", subs=-1, data=-1, payload=-1)
    everything = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
    config = f"""
        operator: {signed(operator, operator, type="operator")}
        resolver: MEMORY
        resolver_preload: {{
            {account.public_key.decode()}: {signed(operator, account, type="account", limits=everything)}
        }}"""
    (folder / "creds").write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return config, {"nats_credentials": str(folder / "creds")}


@pytest.mark.parametrize("way", [by_token, by_nkey, by_credentials])
async def test_every_way_to_log_in(home: Path, way: Callable[[Path], tuple[str, dict[str, str]]]) -> None:
    """And to do so again when the connection was lost."""
    config, settings = way(home)
    back = asyncio.Event()

    async def returned() -> None:
        back.set()

    made, line = User(), SteadyClient()
    with embedded.nats(home, config=config) as url, relay(url) as between:
        given = options(Settings(nats_url=between.url, **settings), "flows")  # type: ignore[arg-type]
        await line.connect(**given, error_cb=made.told, reconnected_cb=returned)
        between.cut()
        between.mend()
        async with asyncio.timeout(10):
            await back.wait()
        await line.flush()
        assert not [error for error in made.errors if "uthorization" in error]
        await line.close()


# --- the whole fleet


@pytest.fixture(scope="module")
def large_dsn() -> Iterator[str]:
    """A database whose page of all deployments is larger than a message of NATS."""
    with folder() as home, embedded.postgres(home, durable=False) as dsn:
        asyncio.run(_fill(dsn))
        yield dsn


async def _fill(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    await connection.execute(
        """INSERT INTO flow (name) VALUES ('large');
           INSERT INTO deployment (name, flow_id, description)
           SELECT 'd' || n, f.id, repeat('x', 20000) FROM generate_series(1, 150) n, flow f;
           INSERT INTO flow_run (name, flow_id, deployment_id, state_type)
           SELECT 'r', d.flow_id, d.id, 'COMPLETED' FROM deployment d"""
    )
    await connection.close()


async def test_a_fleet_of_users_answers_with_payloads_in_parts(guarded_url: str, large_dsn: str, home: Path) -> None:
    search = {"flows": {"name": {"any_": ["large"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    with secured.ready(home, guarded_url, {}, postgres_dsn=large_dsn) as fleet:
        body = await asyncio.to_thread(_asked, f"{fleet.url}/api/deployments/paginate", search)
        assert len(body) > 3_000_000
        assert json.loads(body)["count"] == 150
        client = Settings(nats_url=guarded_url, nats_user="client", nats_password=PASSWORDS["client"])
        async with connect(client, "client") as line:
            await line.up(10)
            page = await Fleet(line, 10.0).paginate(Paginate())
        assert (len(page.results), page.count) == (150, 150)
        large = {"deployments": {"name": {"any_": [f"d{n}" for n in range(200_000)]}}}  # the request too
        assert (
            json.loads(await asyncio.to_thread(_asked, f"{fleet.url}/api/deployments/paginate", large))["count"] == 150
        )
        for service in SERVICES:
            assert "ermissions" not in fleet.log(service)


def _asked(url: str, search: dict[str, Any]) -> bytes:
    asked = urllib.request.Request(url, json.dumps(search).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=20) as response:
        return bytes(response.read())
