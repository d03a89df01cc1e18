"""What `make audit` makes of pip-audit's answers, and the bill of materials of a release."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ralf_hub import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def audit() -> ModuleType:
    loader = SourceFileLoader("audit", str(ROOT / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def answer(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


GOOD = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
FLAWED = {
    **GOOD,
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["3.14.6"], "aliases": [], "description": "x"}],
}
SKIPPED = {"name": "yarl", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("output", "errors", "code", "said"),
    [
        (answer(GOOD, SKIPPED), "", 0, "pip-audit: 1 of 2 packages asked for, none has a known vulnerability"),
        (answer(GOOD, FLAWED), "Found 1 known vulnerability", 1, "aiohttp 3.14.5: PYSEC-2026-1, mended in 3.14.6"),
        (answer({**FLAWED, "vulns": [{"id": "X", "fix_versions": []}]}), "", 1, "X, mended in no version yet"),
        (answer(SKIPPED), "", 0, "this package index has no advisories"),
        ("", "Traceback\nConnectionError: no route to host\n", 0, "cannot be reached: ConnectionError: no route to host"),
        ("", "", 0, "cannot be reached: no answer"),
        ("[]", "", 0, "cannot be reached"),
    ],
)  # fmt: skip
def test_only_a_known_vulnerability_fails(
    audit: ModuleType, output: str, errors: str, code: int, said: str
) -> None:
    found, lines = audit.verdict(output, errors)
    assert (found, said in "\n".join(lines)) == (code, True), lines


@pytest.mark.journey
@pytest.mark.skipif(
    importlib.util.find_spec("pip_audit") is None, reason="pip-audit is not installed: make audit installs it"
)
def test_without_a_network_it_says_so_and_passes(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("aiohttp==3.14.5\n", encoding="utf-8")
    nowhere = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "NO_PROXY": "",
        "no_proxy": "",
    }
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit", "constraints.txt"],
        cwd=tmp_path,
        env={**os.environ, **nowhere, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("pip-audit: nothing was asked, since")


@pytest.mark.journey
@pytest.mark.skipif(
    importlib.util.find_spec("cyclonedx_py") is None,
    reason="cyclonedx-bom is not installed: make sbom installs it",
)
def test_the_bill_of_materials_names_the_release_and_what_is_installed(tmp_path: Path) -> None:
    bill_file = tmp_path / "out" / "bill.json"
    command = [ROOT / ".ci" / "sbom", sys.executable, bill_file, sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads(bill_file.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    release = bill["metadata"]["component"]
    assert (release["name"], release["version"]) == ("ralf-hub", __version__)
    named = {component["name"].lower(): component["version"] for component in bill["components"]}
    for name in ("aiohttp", "pydantic", "pyjwt", "orjson"):
        assert named[name] == version(name)
