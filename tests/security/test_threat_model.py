"""The threat model names tests: each is there, and each threat names one."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    lacking = [f"{path}::{name}" for path, name in NAMED if name not in functions(ROOT / path)]
    assert lacking == []
    assert len(set(NAMED)) >= 50
    assert PAGE.count("tests/") == len(NAMED), "one is written so that it is not looked for"


def test_every_threat_is_shown_to_be_stopped() -> None:
    threats = [
        row.split("|")
        for row in PAGE.partition("## Threats")[2].partition("## What it does not")[0].splitlines()
        if row.startswith("|") and not row.startswith(("| threat", "|---"))
    ]
    assert len(threats) >= 30
    for row in threats:
        assert len(row) == 5, row
        assert "::test_" in row[3], row[1]
