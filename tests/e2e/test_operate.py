"""What docs/operate.md says to type does what it says: roles and indexes go again, and one NATS user is for `run all`."""

import asyncio
import re
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services import embedded
from tests import fleet
from tests.conftest import SCHEMA
from tests.fleet import ROOT
from tests.servers import database

OPERATE = (ROOT / "docs" / "operate.md").read_text()
OURS = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'classis\\_%' UNION SELECT indexname FROM pg_indexes WHERE indexname LIKE 'classis\\_%'"


def lines(beginning: str) -> str:
    """The block of the document that begins so."""
    [found] = re.findall(rf"^(    {re.escape(beginning)}.*\n(?:    .*\n)*)", OPERATE, re.MULTILINE)
    return textwrap.dedent(found)


@pytest.fixture
def dsn(home: Path) -> Iterator[str]:
    with embedded.postgres(home, durable=False) as made:
        yield made


@pytest.mark.parametrize("superuser", [True, False])
async def test_what_was_made_goes_again(dsn: str, superuser: bool) -> None:
    """By whoever may run deploy/readonly.sql."""
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE ROLE prefect LOGIN PASSWORD 'p' CREATEROLE {'SUPERUSER' if superuser else ''}")
    await admin.execute("CREATE DATABASE prefects OWNER prefect")
    await admin.close()
    owner = await asyncpg.connect(dsn, database="prefects", user="prefect", password="p")
    await owner.execute(SCHEMA.read_text())
    await owner.execute((ROOT / "deploy" / "readonly.sql").read_text())
    for statement in re.findall(r"^CREATE.*;$", (ROOT / "deploy" / "indexes.sql").read_text(), re.MULTILINE):
        await owner.execute(statement)
    assert len(await owner.fetch(OURS)) == 8
    for statement in f"{lines('GRANT classis_')}{lines('DROP INDEX')}".splitlines():
        await owner.execute(statement)
    assert not await owner.fetch(OURS)
    await owner.close()


def test_all_in_one_process_with_one_user_of_nats(dsn: str, home: Path) -> None:
    prefects = asyncio.run(database(dsn, "prefects", SCHEMA.read_text()))
    config, given = lines('listen: "127.0.0.1:4222"'), {"CLASSIS_ALL_PASSWORD": '"3kYv"'}
    with (
        embedded.nats(home, config=config, environment=given) as url,
        fleet.running(prefects, url, one_process=True, nats_user="classis", nats_password="3kYv") as made,
        urllib.request.urlopen(f"{made.url}/api/deployments/count", data=b"", timeout=10) as answer,
    ):
        assert answer.read() == b"0"
