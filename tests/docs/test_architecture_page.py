"""The map shows places that are there."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.snippets import CHECKOUT

PAGE = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:ralf_hub|tests|migrations)/[^`\s]*)`", PAGE)))


def names_in(tree: ast.Module) -> set[str]:
    """Return what a module defines at its top, and the methods of its classes as `Class.method`."""
    found = set(_defined(tree.body))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for name in _defined(node.body)}
    return found


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name


@pytest.mark.parametrize("place", PLACES)
def test_a_place_on_the_map_is_there(place: str) -> None:
    file, _, name = place.partition("::")
    path = CHECKOUT / file
    assert path.exists()
    if name:
        assert name in names_in(ast.parse(path.read_text(encoding="utf-8")))


def test_the_map_shows_every_room() -> None:
    rooms = {path.name for path in (CHECKOUT / "ralf_hub").iterdir() if (path / "__init__.py").exists()}
    shown = {place.split("/")[1] for place in PLACES if place.startswith("ralf_hub/")}
    assert rooms - shown == set(), "a room without a place on the map"
