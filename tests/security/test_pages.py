"""Text from outside stays text in the browser: nothing inline runs, nothing is put together as HTML."""

import re
from pathlib import Path

import pytest

from tests.api.helpers import Api

WEB = Path(__file__).parents[2] / "ralf_hub" / "web"


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_the_pages_run_only_their_own_files(api: Api, path: str) -> None:
    reply = await api.call("GET", path, key=None)
    assert reply.status == 200
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";") if part
    )
    assert policy["default-src"] in {"'none'", "'self'"}
    assert "unsafe" not in policy.get("script-src", policy["default-src"])
    assert policy["frame-ancestors"] == "'none'"
    assert reply.headers["X-Frame-Options"] == "DENY"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(rb"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|javascript:", reply.body), (
        "something inline"
    )


def test_no_script_puts_html_together() -> None:
    scripts = sorted(WEB.glob("*.js"))
    assert len(scripts) > 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        )
        assert not found, script.name
