"""The README's example on the bus runs as it stands there."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from services import embedded
from services.seed import seed
from tests import fleet
from tests.conftest import SCHEMA, folder
from tests.fleet import Fleet

README = Path(__file__).parents[2] / "README.md"


async def _fill(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(SCHEMA.read_text())
    await connection.close()
    await seed(dsn, deployments=30, flow_runs=300, task_runs=300, progress=False)


@pytest.fixture
def running() -> Iterator[Fleet]:
    with folder() as home, embedded.postgres(home, durable=False) as dsn, embedded.nats(home) as nats_url:
        asyncio.run(_fill(dsn))
        with fleet.running(dsn, nats_url, one_process=True) as made:
            yield made


def test_the_example_on_the_bus(running: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text()
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    imports = "\n".join(re.findall(r"`(from shared\.\S+ import [^`]+)`", text))
    assert len(example.splitlines()) == 5
    body = example.replace("nats://127.0.0.1:4222", running.nats_url).replace("\n", "\n    ")
    names: dict[str, object] = {}
    exec(f"{imports}\nasync def main():\n    {body}", names)
    asyncio.run(names["main"]())  # type: ignore[operator]
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", README.read_text()):
        assert (README.parent / link).exists(), link
