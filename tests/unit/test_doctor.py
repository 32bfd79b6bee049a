"""`classis doctor`, as far as it needs no server: the declared indexes, what is asked, and how findings are shown."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from services.deployments import csrf
from services.doctor import connections, database, indexes, machine, report, terms
from services.doctor.fleet import introduced
from services.doctor.indexes import EXTRA, PREFECTS, Index
from services.doctor.places import SERVICES, Place, named
from services.doctor.report import Finding, Subject
from shared.settings import Settings
from tests import declared

ROOT = Path(__file__).parents[2]


def place(*services: str, **who: Any) -> Place:
    return Place(services, None, {"address": "127.0.0.1", "port": 5432, **who}, 1)


# --- indexes


def test_the_file_of_indexes_is_what_is_declared() -> None:
    assert (ROOT / "deploy" / "indexes.sql").read_text() == indexes.document()


def test_every_declared_index_has_a_name_and_a_statement_of_its_own() -> None:
    statements = [index.statement for index in (*EXTRA, *PREFECTS)]
    names = [statement.split()[6] for statement in statements]
    assert len(set(statements)) == len(set(names)) == len(statements)
    assert all(name.startswith("classis_") and name.isidentifier() and len(name) < 64 for name in names)


NAMES = Index("deployment", ("name", "id"), "")
INCLUDING = Index("flow_run", ("deployment_id", "state_type"), "", include=("id",))
TAGS = Index("flow_run", ("tags",), "", method="gin", operators="jsonb_ops")


def found(table: str, *columns: str, **other: Any) -> dict[str, Any]:
    """An index as Postgres tells of it."""
    number = len(columns)
    plain = {"method": "btree", "keys": number, "options": [0] * number, "operators": ["x_ops"] * number}
    return {"table": table, "columns": list(columns), "valid": True, "partial": False, **plain, **other}


@pytest.mark.parametrize(
    ("row", "wanted", "serves"),
    [
        (found("deployment", "name", "id"), NAMES, True),
        (found("deployment", "name", "id", "paused"), NAMES, True),
        (found("deployment", "name", "id", options=[3, 3]), NAMES, True),
        (found("deployment", "name", "id", options=[3, 0]), NAMES, False),
        (found("deployment", "id", "name"), NAMES, False),
        (found("deployment", "name"), NAMES, False),
        (found("deployment", "name", "id", keys=1), NAMES, False),
        (found("deployment", "name", "id", partial=True), NAMES, False),
        (found("deployment", "name", "id", valid=False), NAMES, False),
        (found("flow", "name", "id"), NAMES, False),
        (found("deployment", "name", "id", method="brin"), NAMES, False),
        (found("flow_run", "deployment_id", "state_type", "id", keys=2), INCLUDING, True),
        (found("flow_run", "deployment_id", "state_type", "id"), INCLUDING, True),
        (found("flow_run", "deployment_id", "state_type"), INCLUDING, False),
        (found("flow_run", "tags", method="gin", operators=["jsonb_ops"]), TAGS, True),
        (found("flow_run", "tags", method="gin", operators=["jsonb_path_ops"]), TAGS, False),
    ],
)
def test_an_index_counts_when_it_can_do_the_work(row: dict[str, Any], wanted: Index, serves: bool) -> None:
    assert indexes.serves(row, wanted) is serves


# --- what is asked


def test_every_term_of_the_grammar_is_tried() -> None:
    tried = {str(search) for search in terms.searches()}
    assert len(tried) >= len({path for path, _ in declared.searches()})
    asked = terms.asked(Settings())
    assert asked.keys() == set(SERVICES)
    assert all(len(statements) > 5 for statements in asked.values())


def test_tokens_are_read_only_where_they_are_asked_for() -> None:
    assert csrf.GIVEN not in terms.asked(Settings())["deployments"]
    assert csrf.GIVEN in terms.asked(Settings(csrf_protection_enabled=True))["deployments"]


def test_services_on_one_database_share_a_place() -> None:
    settings = Settings(postgres_dsn="a", runs_postgres_dsn="b", primary_postgres_dsn="c")
    assert named(settings) == {"a": ("flows", "work_pools", "deployments"), "b": ("runs",), "c": ("primary",)}
    assert named(Settings(postgres_dsn="a")) == {"a": SERVICES}


def test_connections_are_counted_as_the_pools_open_them() -> None:
    settings = Settings(pool_size=8)
    assert connections.planned(place("flows"), settings, 2) == 16
    assert connections.planned(place("deployments"), settings, 2) == 32
    assert connections.planned(place(*SERVICES), settings, 1) == 40
    assert connections.planned(place("primary"), settings, 1) == 45  # and one for the primary's position, for each pool
    assert connections.planned(place("runs", "primary"), settings, 1) == 8 + 36


# --- single findings


@pytest.mark.parametrize(("major", "marks"), [(13, ["FAILED"]), (14, []), (18, []), (19, ["warning"])])
def test_a_version_is_supported_or_not(major: int, marks: list[str]) -> None:
    subject = Subject("Postgres")
    database.version(subject, place("flows", major=major, version=f"{major}.1"))
    assert [finding.mark for finding in subject.findings] == marks


async def test_clocks_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_: Place) -> tuple[float, float]:
        return 0.002, -90.0

    monkeypatch.setattr(database, "_look", look)
    subject = Subject("Postgres")
    await database.clock(subject, place("flows"))
    [finding] = subject.findings
    assert (finding.mark, "90.0 s behind" in finding.text) == ("warning", True)


@pytest.mark.parametrize(
    ("limit", "upstream", "mark"),
    [
        (1255, "", "warning"),
        (1256, "", "ok"),
        (2255, "http://prefect", "warning"),
        (2256, "http://prefect", "ok"),
        (resource.RLIM_INFINITY, "http://prefect", "ok"),
    ],
)
def test_files_are_enough_for_the_clients_or_not(limit: int, upstream: str, mark: str) -> None:
    subject = Subject("This machine")
    machine.files(subject, Settings(max_connections=1000, upstream=upstream), limit)
    assert subject.findings[0].mark == mark


def test_a_limit_that_the_gateway_raises_itself_is_enough() -> None:
    subject, (soft, hard) = Subject("This machine"), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        machine.check(subject, Settings(max_connections=100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {finding.mark for finding in subject.findings} == {"ok"}


# --- the report


@pytest.fixture
def subjects() -> list[Subject]:
    long = "a sentence of many words " * 10
    findings = [
        Finding("ok", "flows", "fine"),
        Finding("warning", "", long, "CREATE INDEX " + "x, " * 60),
        Finding("note", "runs", "n"),
        Finding("warning", "runs", "w", "do"),
    ]
    return [
        Subject("First", findings),
        Subject("Empty"),
        Subject("Last", [Finding("FAILED", "nats", "down", "start it")]),
    ]


def test_the_table_wraps_what_is_read_and_never_what_is_copied(subjects: list[Subject]) -> None:
    lines = "\n".join(report.as_table(subjects)).splitlines()
    assert "  ok        flows: fine" in lines
    assert f"            → CREATE INDEX {'x, ' * 60}" in lines
    assert all(len(line) <= report.WIDTH for line in lines if "→" not in line)
    assert "Empty" not in lines
    assert lines[-1] == "1 ok, 1 note, 2 warnings, 1 FAILED"
    assert not any("\x1b" in line for line in lines)


def test_colours_change_nothing_but_colours(subjects: list[Subject]) -> None:
    coloured = "\n".join(report.as_table(subjects, colours=True))
    assert "\x1b[1;31mFAILED   \x1b[0m nats: down" in coloured


def test_json_says_the_same(subjects: list[Subject]) -> None:
    told = json.loads(report.as_json(subjects))
    assert told["failed"] is True
    assert told["subjects"][2]["findings"] == [{"mark": "FAILED", "about": "nats", "text": "down", "next": "start it"}]
    assert not report.failed(subjects[:2])


def test_a_stranger_among_the_services_of_nats_is_passed_over() -> None:
    replicas: dict[str, dict[str, str]] = {"flows": {}}
    for told in (b"", b"[]", b'"x"', b"{}", b'{"name": 1, "id": 2, "version": 3}', b"\xff",
                 b'{"name": "flows", "id": "a", "version": "1"}', b'{"name": "classis-x", "id": "a", "version": "1"}'):  # fmt: skip
        introduced(replicas, told)
    assert replicas == {"flows": {}}
    introduced(replicas, b'{"name": "classis-flows", "id": "a", "version": "1"}')
    assert replicas == {"flows": {"a": "1"}}
