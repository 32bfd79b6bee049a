"""What ARCHITECTURE.md lists is what the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
BROAD = {"Exception", "BaseException"}


def test_the_doors_are_those_that_are_listed() -> None:
    """Where every error is caught, and not raised again."""
    told = re.search(r"Broad ones raise again, or are doors:(.*?)\n- ", ARCHITECTURE, re.DOTALL)
    assert told
    found = {
        name for folder in ("services", "shared") for file in (ROOT / folder).rglob("*.py") for name in doors(file)
    }
    assert set(re.findall(r"`(.+?)`", told[1])) == found


def doors(file: Path) -> Iterator[str]:
    module = file.parent.name if file.stem == "__init__" else file.stem
    body = ast.parse(file.read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    for owner, nodes in [(module, body), *((each.name, each.body) for each in classes)]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_swallows_all, ast.walk(node))):
                yield f"{owner}.{node.name}"


def _swallows_all(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=caught, body=[*_, last]):
            return not isinstance(last, ast.Raise) and (caught is None or _is_broad(caught))
        case ast.Call(func=ast.Name("suppress") | ast.Attribute(attr="suppress"), args=args):
            return any(map(_is_broad, args))
    return False


def _is_broad(caught: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id in BROAD for node in ast.walk(caught))
