"""A page's blocks run as its reader would: one after the other, in one shell, in a folder of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.snippets import SNIPPETS, Snippet

RUN: Final = ("sh", "python", "js")
TOOLS: Final = ("curl", "jq", "sqlite3", "node")
WITHIN_S: Final = 150
_MARK: Final = "\x1e"
_PROLOGUE: Final = r"""
set -euo pipefail
# A key that a command has made counts within a second: what is refused is asked again for a while.
curl() {
    local out code
    for _ in $(seq 50); do
        code=0
        out=$(command curl --fail-with-body "$@" && printf .) || code=$?
        if [ "$code" != 22 ]; then break; fi
        sleep 0.1
    done
    printf '%s' "${out%.}"
    return "$code"
}
the_key() { sed -n 's/.*shown once: \(rh_[^)]*\)).*/\1/p' hub.log; }
settings_in_force() { command curl -s "$HUB_URL/health" | grep -o '"settings":"[0-9a-f]\{12\}"' | cut -d: -f2 | tr -dc 0-9a-f; }
start_hub() {
    "$@" --port "${HUB_URL##*:}" >>hub.log 2>&1 &
    HUB=$!
    for _ in $(seq 300); do
        if the_key | grep -q rh_ && command curl -s -o /dev/null "$HUB_URL/health"; then return; fi
        if ! kill -0 "$HUB" 2>/dev/null; then break; fi
        sleep 0.1
    done
    cat hub.log >&2
    return 1
}
# The page's hub is no service of this machine: what a reader asks of systemd is done to its process.
systemctl() {
    case "$1 $2" in
        "stop ralf-hub") kill "$HUB" && wait "$HUB" ;;
        "start ralf-hub") start_hub ralf-hub serve ;;
        "reload ralf-hub")
            local wanted
            wanted=$(ralf-hub check --json | grep -o '"fingerprint": *"[0-9a-f]*"' | cut -d: -f2 | tr -dc 0-9a-f)
            kill -HUP "$HUB"
            for _ in $(seq 100); do if [ "$(settings_in_force)" = "$wanted" ]; then return; fi; sleep 0.1; done
            return 1 ;;
        *) echo "systemctl $* is not what this page's hub can do" >&2; return 1 ;;
    esac
}
STARTED=
trap 'if [ -n "$STARTED" ]; then kill "$HUB" 2>/dev/null && wait "$HUB" || true; fi' EXIT
"""
_HEREDOC: Final = {"python": "python3 -", "js": "node --input-type=module -"}


def blocks(page: str, languages: Sequence[str] = RUN) -> list[Snippet]:
    """Return the blocks of *page* that its test runs."""
    return [s for s in SNIPPETS if s.page == page and s.language in languages and s.excuse is None]


def run_page(
    page: str, folder: Path, *, url: str, key: str = "", env: Mapping[str, str] | None = None
) -> None:
    """Run *page* in *folder* and compare what it shows with what is printed.

    `http://127.0.0.1:8080` becomes *url*; the key `rh_...` becomes *key*, or that of the hub the page starts itself.
    """
    run = blocks(page)
    text = "\n".join(snippet.text for snippet in run)
    for tool in TOOLS:
        asked = re.search(rf"\b{tool}\b", text) or (tool == "node" and any(s.language == "js" for s in run))
        if asked and shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    script = _PROLOGUE + "".join(_as_shell(snippet, url, key) for snippet in run)
    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=folder,
        env=_environment(folder, url, env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    printed = done.stdout.split(f"{_MARK}\n")[1:]
    at = run[len(printed) - 1] if printed else page
    assert done.returncode == 0, f"{at}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    by_block = dict(zip(run, printed, strict=True))
    for shown, source in shown_in(page):
        insist(shown, by_block[source].replace(url, "http://127.0.0.1:8080"))


def command(folder: Path, env: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ralf-hub` with *arguments* in *folder*, as its reader would."""
    return subprocess.run(
        ["ralf-hub", *arguments],
        check=False,
        cwd=folder,
        env=_environment(folder, "", env),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )


def shown_in(page: str) -> Iterator[tuple[Snippet, Snippet]]:
    """Yield every block that shows what is printed, with the block that prints it."""
    for before, snippet in pairwise(s for s in SNIPPETS if s.page == page):
        if snippet.comment == "prints":
            assert before.language in RUN, f"{snippet}: nothing is run before it"
            assert before.excuse is None, f"{snippet}: what is before it is not run"
            yield snippet, before


def insist(shown: Snippet, printed: str) -> None:
    """Fail unless *printed* is what the page shows. Of JSON the page may show a part."""
    if shown.language == "json":
        assert holds(json.loads(shown.text), json.loads(printed)), f"{shown}: it prints\n{printed}"
        return
    pattern = re.escape(_bare(shown.text)).replace(r"\.\.\.", ".*?")
    assert re.fullmatch(pattern, _bare(printed), re.DOTALL), f"{shown}: it prints\n{printed}"


def _bare(text: str) -> str:
    """Return *text* without empty lines and blanks at the ends of lines: they do not show."""
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def holds(part: Any, whole: Any) -> bool:
    """Return whether everything in *part* is in *whole*; the text `...` is anything."""
    if part == "...":
        return whole is not None
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and holds(v, whole[k]) for k, v in part.items())
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(part) == len(whole)
            and all(holds(one, other) for one, other in zip(part, whole, strict=True))
        )
    if isinstance(part, str) and "..." in part:
        return bool(re.fullmatch(re.escape(part).replace(r"\.\.\.", ".*"), str(whole)))
    return bool(part == whole)


def _as_shell(snippet: Snippet, url: str, key: str) -> str:
    text = snippet.text.replace("http://127.0.0.1:8080", url).replace("rh_...", key or "$(the_key)")
    begin = f"\nprintf '{_MARK}\\n'\n"
    if snippet.language != "sh":
        return f"{begin}{_HEREDOC[snippet.language]} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
    if snippet.comment == "starts the hub":
        return f"{begin}STARTED=yes\nstart_hub {text.strip()}\n"
    if snippet.comment == "refused":
        return f'{begin}(\ncurl() {{ command curl "$@"; }}\n{text})\n'
    return begin + text


def _environment(folder: Path, url: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return a reader's environment: this Python as `python3`, this program as `ralf-hub`, an empty home."""
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    for name, module in (("ralf-hub", "-m ralf_hub "), ("python3", "")):
        shim = tools / name
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} {module}"$@"\n', encoding="utf-8")
        shim.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in {"RALF_HUB_CONFIG", "KEY"}}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{tools}:{kept['PATH']}",
        "HUB_URL": url,
        "COLUMNS": "160",
        "NO_COLOR": "1",
        **env,
    }
