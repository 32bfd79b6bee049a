"""What the documents name is there: files, headings, settings, roles, indexes."""

import re
from pathlib import Path

import pytest

from shared.settings import PREFIX, Settings
from tests.fleet import ROOT

FOLDERS = (ROOT / "docs", ROOT / "deploy", ROOT / "bench")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in folder.rglob("*.md"))])
OTHERS = {f"{PREFIX}HOME", f"{PREFIX}BENCH_HOME"}  # read by programs that are no service
KNOWN = {PREFIX + name.upper() for name in Settings.__struct_fields__} | OTHERS
OPERATE = (ROOT / "docs" / "operate.md").read_text()
every = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(document: Path) -> set[str]:
    """The headings, as GitHub names them in links."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@every
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every
def test_settings_exist(document: Path) -> None:
    """Passwords are of NATS's users: names that its configuration has."""
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]\b", document.read_text()))
    assert {name for name in named if not name.endswith("_PASSWORD")} <= KNOWN


def test_what_was_made_can_be_removed() -> None:
    """The lines name every role and index, and nothing else; tests/e2e/test_operate.py runs them."""
    indexes = re.findall(
        r"^CREATE INDEX \D*? (classis_\w+) ON", (ROOT / "deploy/indexes.sql").read_text(), re.MULTILINE
    )
    assert re.findall(r"^    DROP INDEX \D*? (classis_\w+);$", OPERATE, re.MULTILINE) == indexes
    [roles] = re.findall(r"ARRAY\[(.*)\]", (ROOT / "deploy/readonly.sql").read_text())
    for statement in ("GRANT", "DROP OWNED BY", "DROP ROLE"):
        [named] = re.findall(rf"^    {statement} (classis_.*?)(?: TO CURRENT_USER)?;$", OPERATE, re.MULTILINE)
        assert set(named.split(", ")) == set(re.findall(r"\w+", roles))
