"""The revision of Prefect's schema, as a running deployments service sees it."""

import logging

import pytest
from prometheus_client import REGISTRY

from services import deployments
from services.deployments import revision
from shared import metrics
from shared.settings import Settings
from tests.conftest import SCHEMA
from tests.integration.test_doctor import PASSWORDS_OF_ROLES, ROLES, as_roles, told
from tests.integration.test_first_read import comes, uses
from tests.servers import database

[KNOWN] = revision.REVISIONS
UNKNOWN = "f" * 12


@pytest.fixture
async def made(postgres_dsn: str) -> str:
    """An empty database of the test's own, with the roles of deploy/readonly.sql."""
    found = await database(postgres_dsn, "revisions", SCHEMA.read_text())
    await told(found, ROLES, *PASSWORDS_OF_ROLES)
    return found


@pytest.fixture
def settings(made: str, nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Settings:
    monkeypatch.setattr(revision, "PAUSE", 0.01)
    caplog.set_level(logging.WARNING)
    metrics.SCHEMA.clear()
    return Settings(nats_url=nats_url, **as_roles(made))


def exported() -> dict[str, float]:
    """The values of the metric, by revision."""
    [family] = [family for family in REGISTRY.collect() if family.name == "classis_schema_known"]
    return {sample.labels["revision"]: sample.value for sample in family.samples}


async def looked_again() -> None:
    """Returns after some more looks, each of which is one or two uses of a connection."""
    before = uses("ok")
    await comes(lambda: uses("ok") >= before + 6)


async def test_a_schema_that_is_upgraded_meanwhile_is_told_once(
    made: str, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with deployments.running(settings):
        await comes(lambda: exported() == {KNOWN: 1})
        assert caplog.messages == []
        await told(made, f"UPDATE alembic_version SET version_num = '{UNKNOWN}'")
        await comes(lambda: exported() == {UNKNOWN: 0})
        await looked_again()
        [warning] = caplog.messages
        assert f"revision {UNKNOWN}, which is not known here, only {KNOWN}" in warning
        await told(made, f"UPDATE alembic_version SET version_num = '{KNOWN}'")
        await comes(lambda: exported() == {KNOWN: 1})
    assert len(caplog.messages) == 1


async def test_several_heads_and_none_are_unknown(made: str, settings: Settings) -> None:
    await told(made, f"INSERT INTO alembic_version VALUES ('{UNKNOWN}')")
    async with deployments.running(settings):
        await comes(lambda: exported() == {f"{KNOWN}, {UNKNOWN}": 0})
        await told(made, "TRUNCATE alembic_version")
        await comes(lambda: exported() == {"none": 0})


@pytest.mark.parametrize(
    "change", ["REVOKE ALL ON alembic_version FROM classis_deployments", "DROP TABLE alembic_version"]
)
async def test_where_it_cannot_be_read_one_line_says_so(
    made: str, settings: Settings, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    await told(made, change)
    troubles = uses("DatabaseDown")
    async with deployments.running(settings):
        await comes(lambda: bool(caplog.messages))
        await looked_again()
    assert caplog.messages == [revision.UNREADABLE]
    assert exported() == {}
    assert uses("DatabaseDown") == troubles
