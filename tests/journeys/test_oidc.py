"""Tokens of a real provider: the certified `oidc-provider` of npm, from the folder RALF_HUB_OIDC (made with
`npm install oidc-provider`); skipped where it or node is absent."""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.journeys.hub import Hub, free_port
from tests.support import eventually

SCRIPT = Path(__file__).with_name("oidc_provider.mjs")
AUDIENCE = "urn:ralf-hub"
FOLDER = os.environ.get("RALF_HUB_OIDC", "")


def _spawn(port: int, algorithm: str, output: Path) -> "subprocess.Popen[bytes]":
    with output.open("ab") as said:
        return subprocess.Popen(
            ["node", SCRIPT, FOLDER, str(port), AUDIENCE],
            env={**os.environ, "ALG": algorithm},
            stdout=said,
            stderr=subprocess.STDOUT,
        )


@asynccontextmanager
async def provider(port: int, algorithm: str, output: Path) -> AsyncIterator[str]:
    """Run the provider as a process; it makes fresh keys each time."""
    process = _spawn(port, algorithm, output)
    try:
        await eventually(lambda: _answers(process, port), within_s=30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    assert process.poll() is None, "the provider ended: see provider.txt"
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/jwks") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def token_of(url: str, scope: str, user: str, secret: str) -> dict[str, Any]:
    basic = b64encode(f"{user}:{secret}".encode()).decode()
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            url,
            data={"grant_type": "client_credentials", "scope": scope},
            headers={"Authorization": f"Basic {basic}"},
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


@pytest.mark.journey
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not on this machine")
@pytest.mark.skipif(
    not (Path(FOLDER) / "node_modules" / "oidc-provider").is_dir() or not FOLDER,
    reason="RALF_HUB_OIDC names no folder with oidc-provider (npm install oidc-provider)",
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS256"])
async def test_a_token_of_a_real_provider_opens_the_door(tmp_path: Path, algorithm: str) -> None:
    port = free_port()
    api = (
        f'auth_type = "oauth"\nrate_limit.enabled = false\n'
        f'oauth = {{issuer = "http://127.0.0.1:{port}", audience = "{AUDIENCE}"}}'
    )
    async with provider(port, algorithm, tmp_path / "provider.txt") as url, Hub(tmp_path, "", api=api) as hub:
        given = await token_of(f"{url}/token", "tasks:read events:read", "ci", "ci-secret")
        hub.key = given["access_token"]
        assert hub.key.count(".") == 2
        assert (await hub.call("GET", "/api/v1/tasks"))[0] == 200
        assert (await hub.call("GET", "/api/v1/events"))[0] == 200
        status, refused = await hub.call("GET", "/api/v1/queue")
        assert (status, refused["code"]) == (403, "missing_scope")
        hub.key = given["access_token"][:-8] + "AAAAAAAA"
        status, refused = await hub.call("GET", "/api/v1/tasks")
        assert (status, refused["code"]) == (401, "invalid_token")


@pytest.mark.journey
async def test_a_client_of_the_hub_needs_no_provider(tmp_path: Path) -> None:
    api = (
        f'auth_type = "oauth"\noauth = {{issuer = "http://127.0.0.1:{free_port()}", audience = "{AUDIENCE}"}}'
    )
    async with Hub(tmp_path, "", api=api) as hub:
        made = hub.command("keys", "create", "--name", "ci", "--scopes", "tasks:read", "--oauth", "--json")
        assert made.returncode == 0, made.stderr
        client = json.loads(made.stdout)
        given = await token_of(
            f"{hub.url}/oauth/token", "tasks:read", client["client_id"], client["client_secret"]
        )
        hub.key = given["access_token"]
        assert (await hub.call("GET", "/api/v1/tasks"))[0] == 200
        assert hub.command("keys", "revoke", client["id"]).returncode == 0
        assert (await hub.call("GET", "/api/v1/tasks"))[0] == 401
