"""The embedded servers: data survives, nothing outlives a launcher, nobody gets in without the password."""

import asyncio
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from services import embedded
from tests.processes import all_gone, running_in, watched

LAUNCHER = """
import sys
from pathlib import Path
from services import embedded
with embedded.postgres(Path(sys.argv[1])) as dsn, embedded.nats(Path(sys.argv[1])) as url:
    print(dsn, url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def launcher(home: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Another process that runs both servers, and the DSN it prints."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", LAUNCHER, home], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        dsn, url = process.stdout.readline().split()
        assert url.startswith("nats://127.0.0.1:")
        yield process, dsn


def query(dsn: str, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_a_cold_start_gives_an_empty_utf8_database_with_trigrams(home: Path) -> None:
    with embedded.postgres(home) as dsn:
        assert urlsplit(dsn).path == "/classis"
        assert query(dsn, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == 0
        assert query(dsn, "SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'") == "pg_trgm"
        assert query(dsn, "SELECT current_setting('server_encoding')") == "UTF8"
        assert query(dsn, "SELECT lower('ÅNGSTRÖM') = 'ångström'") is True


def test_a_warm_start_keeps_data_and_password(home: Path) -> None:
    with embedded.postgres(home) as first:
        query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded.postgres(home) as second:
        assert query(second, "SELECT answer FROM kept") == 42
        assert urlsplit(second).password == urlsplit(first).password


def test_the_server_is_careful_unless_told_otherwise(home: Path) -> None:
    with embedded.postgres(home) as dsn:
        assert query(dsn, "SHOW fsync") == "on"
    with embedded.postgres(home, durable=False) as dsn:
        assert query(dsn, "SHOW fsync") == "off"


def test_nobody_gets_in_without_the_password(home: Path) -> None:
    with embedded.postgres(home) as dsn:
        password = urlsplit(dsn).password
        assert password
        for wrong in (dsn.replace(f":{password}@", "@"), dsn.replace(password, "wrong")):
            with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
                query(wrong, "SELECT 1")
        assert query(dsn, "SELECT bool_and(auth_method = 'scram-sha-256') FROM pg_hba_file_rules") is True
        assert query(dsn, "SHOW unix_socket_directories") == ""
    assert stat.S_IMODE((home / "postgres" / "password").stat().st_mode) == 0o600


def test_nats_greets_on_loopback(home: Path) -> None:
    with embedded.nats(home) as url:
        address = urlsplit(url)
        assert address.hostname == "127.0.0.1"
        assert address.port is not None
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            assert connection.makefile("rb").readline().startswith(b"INFO {")
        assert running_in(home) != []
    assert running_in(home) == []


def test_servers_die_with_a_killed_launcher_and_start_again(home: Path) -> None:
    with launcher(home) as (process, dsn):
        query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")
        pids = running_in(home)
        assert len(pids) > 2
        with watched(pids) as servers:
            process.kill()
            assert all_gone(servers)
    with embedded.postgres(home) as again:
        assert query(again, "SELECT answer FROM kept") == 42


def test_a_start_waits_for_the_servers_of_a_launcher_killed_just_now(home: Path) -> None:
    with launcher(home) as (process, _dsn):
        process.kill()
        process.wait()
        with embedded.postgres(home) as again:
            assert query(again, "SELECT 1") == 1


def test_a_pid_file_that_names_a_foreign_process_does_not_stop_a_start(home: Path) -> None:
    with embedded.postgres(home):
        pid_file = home / "postgres" / "data" / "postmaster.pid"
        text = pid_file.read_text()
    pid_file.write_text(text.replace(text.splitlines()[0], "1", 1))
    with embedded.postgres(home) as dsn:
        assert query(dsn, "SELECT 1") == 1


def test_a_first_start_cut_short_is_made_anew(home: Path) -> None:
    (home / "postgres" / "data.new").mkdir(parents=True)
    (home / "postgres" / "data.new" / "PG_VERSION").write_text("18\n")
    with embedded.postgres(home) as dsn:
        assert query(dsn, "SELECT 1") == 1


def test_a_second_launcher_is_refused(home: Path) -> None:
    with (
        launcher(home),
        pytest.raises(embedded.StartError, match="in use by another launcher"),
        embedded.postgres(home),
    ):
        pass


def test_data_of_another_version_is_refused_and_left_alone(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    with pytest.raises(embedded.StartError, match="of PostgreSQL 9"), embedded.postgres(home):
        pass
    assert (data / "PG_VERSION").read_text() == "9\n"


def test_a_failed_start_shows_the_log(home: Path) -> None:
    with embedded.postgres(home):
        pass
    with (home / "postgres" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(embedded.StartError, match="no_such_setting"), embedded.postgres(home):
        pass


def test_a_home_that_cannot_be_made_says_what_to_do(home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(embedded.StartError, match="CLASSIS_HOME"), embedded.postgres(home / "file"):
        pass


def test_the_home_follows_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSIS_HOME", str(home))
    assert embedded.home_directory() == home


def test_ctrl_c_in_a_terminal_reaches_the_launcher_only() -> None:
    child = embedded.spawn(["sleep", "60"])
    try:
        assert Path(f"/proc/{child.pid}/stat").read_text().split()[5] == str(child.pid)  # a session of its own
    finally:
        embedded.stop(child, (signal.SIGTERM, 5))
    assert child.returncode == -signal.SIGTERM
