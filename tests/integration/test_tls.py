"""TLS to Postgres and to NATS: whom we trust, what we show, and what happens when either is wrong."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from services import embedded
from shared import bus, errors, postgres
from shared.contract import FLOWS, FlowLeg, Keys
from shared.filters import FlowFilter
from shared.natsclient import SteadyClient
from shared.natsoptions import options
from shared.settings import Settings
from tests import secured
from tests.certificates import Authority, Pair, TlsFront, tls_front
from tests.conftest import folder
from tests.relay import relay


class Certificates(NamedTuple):
    authority: Authority
    stranger: Authority
    server: Pair  # of 127.0.0.1
    client: Pair


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    with folder() as made:
        authority, stranger = Authority(made), Authority(made, "stranger")
        yield Certificates(authority, stranger, authority.issue("127.0.0.1"), authority.issue("flows.example"))


# --- Postgres


@pytest.fixture(scope="module")
def dsn() -> Iterator[str]:
    with folder() as home, embedded.postgres(home, durable=False) as made:
        yield made


@pytest.fixture(scope="module")
def front(dsn: str, certificates: Certificates) -> Iterator[TlsFront]:
    with tls_front(dsn, certificates.server) as made:
        yield made


async def reached(dsn: str) -> bool:
    """Whether Postgres answers a pool of ours. Raises DatabaseDown."""
    async with postgres.pool(Settings(postgres_dsn=dsn), "flows") as pool:
        [record] = await postgres.fetch(pool, "SELECT true", (), 5)
        return bool(record[0])


async def test_postgres_is_reached_when_its_certificate_is_right(front: TlsFront, certificates: Certificates) -> None:
    assert await reached(front.dsn(sslmode="verify-full", sslrootcert=certificates.authority.ca))


async def test_postgres_with_a_certificate_of_somebody_else_is_refused(
    front: TlsFront, certificates: Certificates
) -> None:
    with pytest.raises(errors.DatabaseDown, match="certificate verify failed"):
        await reached(front.dsn(sslmode="verify-full", sslrootcert=certificates.stranger.ca))


async def test_postgres_with_a_certificate_of_another_host_is_refused(
    front: TlsFront, certificates: Certificates
) -> None:
    trusted = certificates.authority.ca
    with pytest.raises(errors.DatabaseDown, match="not valid for 'localhost'"):
        await reached(front.dsn("localhost", sslmode="verify-full", sslrootcert=trusted))
    assert await reached(front.dsn("localhost", sslmode="verify-ca", sslrootcert=trusted))


async def test_postgres_without_tls_is_refused_when_tls_is_asked_for(dsn: str, certificates: Certificates) -> None:
    with pytest.raises(errors.DatabaseDown, match="rejected SSL upgrade"):
        await reached(f"{dsn}?sslmode=verify-full&sslrootcert={certificates.authority.ca}")


async def test_postgres_may_ask_for_our_certificate(dsn: str, certificates: Certificates) -> None:
    ours, key = certificates.client
    trusted = certificates.authority.ca
    with tls_front(dsn, certificates.server, certificates.authority.ca) as asking:
        assert await reached(asking.dsn(sslmode="verify-full", sslrootcert=trusted, sslcert=ours, sslkey=key))
        with pytest.raises(errors.DatabaseDown):
            await reached(asking.dsn(sslmode="verify-full", sslrootcert=trusted))


async def test_a_file_that_is_not_there_is_trouble_with_the_database(front: TlsFront) -> None:
    with pytest.raises(errors.DatabaseDown):
        await reached(front.dsn(sslmode="verify-full", sslrootcert="/not/there"))


# --- NATS


def with_tls(server: Pair, authority: Path) -> str:
    """deploy/nats.conf with its commented block of TLS in force, and these files."""
    block = re.search(r"^# tls \{\n(?:# .*\n)+?# \}\n", secured.CONFIG, re.MULTILINE)
    assert block
    text = re.sub("^# ", "", block[0], flags=re.MULTILINE)
    for name, path in (("cert_file", server.certificate), ("key_file", server.key), ("ca_file", authority)):
        text, changed = re.subn(f'{name}: ".*"', f'{name}: "{path}"', text)
        assert changed
    return secured.CONFIG.replace(block[0], text)


@pytest.fixture(scope="module")
def nats_url(certificates: Certificates) -> Iterator[str]:
    with folder() as home, secured.nats(home, with_tls(certificates.server, certificates.authority.ca)) as url:
        yield url.replace("nats://", "tls://")


def trusting(certificates: Certificates, nats_url: str, user: str, **settings: str) -> Settings:
    given = {
        "nats_url": nats_url,
        "nats_user": user,
        "nats_password": secured.PASSWORDS[user],
        "nats_tls_ca": str(certificates.authority.ca),
        "nats_tls_certificate": str(certificates.client.certificate),
        "nats_tls_key": str(certificates.client.key),
    }
    return Settings(**{**given, **settings})  # type: ignore[arg-type]


async def test_a_call_over_tls_with_certificates_on_both_sides(nats_url: str, certificates: Certificates) -> None:
    async def found(_: FlowLeg) -> Keys:
        return Keys(bytes(16))

    async with (
        bus.connect(trusting(certificates, nats_url, "flows"), "flows") as flows,
        bus.connect(trusting(certificates, nats_url, "gateway"), "gateway") as gateway,
        flows.serve(FLOWS, found),
    ):
        await flows.up(10)
        await gateway.up(10)
        assert await gateway.call(FLOWS, FlowLeg(flows=FlowFilter()), 5) == Keys(bytes(16))


async def test_tls_holds_after_a_reconnect(nats_url: str, certificates: Certificates) -> None:
    back = asyncio.Event()

    async def returned() -> None:
        back.set()

    client = SteadyClient()
    with relay(nats_url) as line:
        await client.connect(
            **options(trusting(certificates, line.url, "flows"), "flows"), error_cb=ignored, reconnected_cb=returned
        )
        line.cut()
        line.mend()
        async with asyncio.timeout(10):
            await back.wait()
        await client.flush()
        await client.close()


async def ignored(_: Exception) -> None:
    """Trouble that is the point of the test."""


async def test_nats_with_a_certificate_of_somebody_else_is_refused(nats_url: str, certificates: Certificates) -> None:
    settings = trusting(certificates, nats_url, "flows", nats_tls_ca=str(certificates.stranger.ca))
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(settings)


async def test_nats_with_a_certificate_of_another_host_is_refused(nats_url: str, certificates: Certificates) -> None:
    settings = trusting(certificates, nats_url.replace("127.0.0.1", "localhost"), "flows")
    assert "Hostname mismatch" in await refusal(settings)


@pytest.mark.parametrize("shown", ["none", "of a stranger"])
async def test_nats_refuses_who_shows_no_certificate_of_its_authority(
    nats_url: str, certificates: Certificates, shown: str
) -> None:
    pair = certificates.stranger.issue("flows.example") if shown == "of a stranger" else ("", "")
    certificate, key = map(str, pair)
    await refusal(trusting(certificates, nats_url, "flows", nats_tls_certificate=certificate, nats_tls_key=key))


@pytest.mark.parametrize("how", ["a tls:// URL", "an authority"])
async def test_no_password_is_sent_to_nats_without_tls_where_tls_is_asked_for(
    home: Path, certificates: Certificates, how: str
) -> None:
    """Else whoever stands between could have it by leaving TLS out of the server's greeting."""
    settings = {"nats_user": "flows", "nats_password": secured.PASSWORDS["flows"]}
    if how == "an authority":
        settings["nats_tls_ca"] = str(certificates.authority.ca)
    with secured.nats(home) as url:
        address = url if how == "an authority" else url.replace("nats://", "tls://")
        assert "no TLS" in await refusal(Settings(nats_url=address, **settings))  # type: ignore[arg-type]


async def refusal(settings: Settings) -> str:
    """What a client is told that is refused twice and does not give up."""
    refusals: asyncio.Queue[Exception] = asyncio.Queue()
    client = SteadyClient()
    trying = asyncio.create_task(client.connect(**options(settings, "flows"), error_cb=refusals.put))
    try:
        async with asyncio.timeout(3):
            await refusals.get()
            told = await refusals.get()
        assert not trying.done()
    finally:
        trying.cancel()
        await asyncio.wait([trying])
        client.abort()
        await asyncio.wait_for(client.close(), 3)
    return repr(told)
