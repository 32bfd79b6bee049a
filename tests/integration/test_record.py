"""The file of searches: what is in it, who may read it, and that neither its size nor a full disk is a search's matter."""

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import embedded
from services.compare.requests import Request, recorded
from services.gateway import record
from services.gateway.record import Record
from shared.settings import SettingsError
from tests.conftest import folder
from tests.doors import COUNT, JSON, WITHIN, nothing, on_uvloop, opened

SECRET = "authorization: Basic c2VjcmV0OnNlY3JldA=="


@pytest.fixture(scope="module")
def nats_url() -> Iterator[str]:
    with folder() as home, embedded.nats(home) as url:
        yield url


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines()


@on_uvloop
async def test_what_is_recorded(nats_url: str, home: Path) -> None:
    file = home / "searches.jsonl"
    bodies = [
        b'{\n "limit":  1,\r\n "flows": {"name": {"any_": ["Gr\xc3\xb6\xc3\x9fe \\n"]}}}',
        b"{broken",
        b"[1]",
        b'"x"',
        b"",
    ]
    async with opened(nats_url, nothing, record=str(file), api_auth_string="secret:secret") as connect:
        wire = await connect()
        for body in bodies:
            await wire.ask("POST", f"{COUNT}?a=b", JSON, SECRET, body=body)
        await wire.ask("POST", COUNT, "content-type: text/plain", SECRET, body=b"ignored")
        await wire.ask("POST", COUNT, JSON, body=b"{}")  # not let in
        await wire.ask("GET", "/api/health", SECRET)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"secret" not in file.read_bytes().lower()
    found = [json.loads(line) for line in lines(file)]
    assert [(each["method"], each["path"]) for each in found] == [("POST", COUNT)] * 6
    value = {"limit": 1, "flows": {"name": {"any_": ["Größe \n"]}}}
    assert [each["body"] for each in found] == [value, "{broken", [1], '"x"', None, None]


@on_uvloop
async def test_it_can_be_replayed(nats_url: str, home: Path) -> None:
    bodies = [b'{"limit": 1e1, "limit": 2}', b"{broken", b'"x"', b"NaN", b"", '{"ü":"\\ud800"}'.encode()]
    async with opened(nats_url, nothing, record=str(home / "file")) as connect:
        wire = await connect()
        for body in bodies:
            await wire.ask("POST", COUNT, JSON, body=body)
    assert list(recorded(lines(home / "file"))) == [Request("POST", COUNT, body) for body in bodies]


@on_uvloop
async def test_it_is_added_to(nats_url: str, home: Path) -> None:
    for _ in range(2):
        async with opened(nats_url, nothing, record=str(home / "file")) as connect:
            assert (await (await connect()).ask("POST", COUNT, JSON, body=b"{}")).status == 200
    assert len(lines(home / "file")) == 2


@on_uvloop
async def test_its_size_is_bounded(
    nats_url: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(record, "MOST", 200)
    with caplog.at_level(logging.WARNING, record.log.name):
        async with opened(nats_url, nothing, record=str(home / "file")) as connect:
            wire = await connect()
            assert [(await wire.ask("POST", COUNT, JSON, body=b"{}")).status for _ in range(10)] == [200] * 10
    assert 0 < (home / "file").stat().st_size <= 200
    assert len([each for each in caplog.records if each.name == record.log.name]) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this machine")
@on_uvloop
async def test_a_full_disk_is_told_once(nats_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, record.log.name):
        async with opened(nats_url, nothing, record="/dev/full") as connect:
            wire = await connect()
            assert [(await wire.ask("POST", COUNT, JSON, body=b"{}")).status for _ in range(10)] == [200] * 10
    [line] = [each.getMessage() for each in caplog.records if each.name == record.log.name]
    assert "No space left" in line


@on_uvloop
async def test_a_file_that_cannot_be_opened(nats_url: str, home: Path) -> None:
    with pytest.raises(SettingsError, match=r"^CLASSIS_RECORD: cannot write to .*No such file"):
        async with opened(nats_url, nothing, record=str(home / "nowhere" / "file")):
            pass


def test_what_the_disk_cannot_take_is_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WAITING", 2 * (record.EACH + 50))
    made = Record(os.open(home / "file", os.O_WRONLY | os.O_CREAT), "file")
    for _ in range(5):
        made.add("POST", COUNT, b"[1,2]")
    made.leave()
    made.write()
    assert len(lines(home / "file")) == 2


LEAVING = """
import asyncio, sys
from services.gateway import record

async def main():
    async with record.opened(sys.argv[1]) as made:
        for _ in range(100):
            made.add("POST", "/", b"1" * 1000)

record.FAREWELL = 0.1
asyncio.run(main())
"""


def test_a_disk_that_takes_nothing_does_not_keep_the_process(home: Path) -> None:
    """It stands for that disk: a pipe that nobody reads. In a process of its own, for Python waits for threads too."""
    pipe = home / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        command = [sys.executable, "-c", LEAVING, str(pipe)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WITHIN)
    finally:
        os.close(reader)
    assert done.stderr == f"searches are missing in {pipe}, which is slow to write\n"
