"""The proxies of docs/deploy.md, as they are written there, before a real hub: REST, streams, webhooks, who calls."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.journeys.hub import Hub, free_port
from tests.snippets import of
from tests.support import eventually

pytestmark = pytest.mark.journey

PAGE: Final = "docs/deploy.md"
SETTINGS: Final = (
    '[[webhooks.incoming]]\nservice = "ci"\nsecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"\n\n'
    '[connectors.console]\nevents = ["*"]\n'
)
LARGE: Final = 20 * 1024 * 1024


def written(language: str) -> str:
    (snippet,) = of(language, PAGE)
    return snippet.text


def installed(program: str) -> str:
    """Return where *program* is; the test is skipped where it is not."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed: its settings in {PAGE} are not tried")
    return found


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [installed("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=hub.example.org",
         "-addext", "subjectAltName=DNS:hub.example.org,IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return cert, key


def nginx(folder: Path, port: int, hub_port: int) -> list[str]:
    """Write the settings of the page around what every nginx has, and return the command."""
    program, (cert, key) = installed("nginx"), certificate(folder)
    text = written("nginx")
    for shown, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/letsencrypt/live/hub.example.org/fullchain.pem": str(cert),
        "/etc/letsencrypt/live/hub.example.org/privkey.pem": str(key),
        "127.0.0.1:8080": f"127.0.0.1:{hub_port}",
    }.items():
        assert shown in text
        text = text.replace(shown, here)
    places = "".join(
        f"{what}_temp_path {folder}/{what};\n"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"pid {folder}/nginx.pid;\nerror_log stderr;\ndaemon off;\nmaster_process off;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{text}}}\n"
    )
    tried = subprocess.run([program, "-t", "-c", file], check=False, capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    return [program, "-c", str(file)]


def caddy(folder: Path, port: int, hub_port: int) -> list[str]:
    """Write the settings of the page with a certificate of Caddy's own, and return the command."""
    program, (cert, key) = installed("caddy"), certificate(folder)
    text = written("caddy").replace("127.0.0.1:8080", f"127.0.0.1:{hub_port}")
    assert text.startswith("hub.example.org {\n"), "one site, named first"
    site = f"https://127.0.0.1:{port} {{\n    tls {cert} {key}\n    bind 127.0.0.1\n"
    # Nothing is fetched, and nothing of this machine is changed: no authority of Caddy's own among the trusted ones.
    quiet = "admin off\nauto_https disable_certs\nskip_install_trust\n"
    file = folder / "Caddyfile"
    file.write_text(
        f"{{\n{quiet}storage file_system {folder}/caddy\n}}\n{text.replace('hub.example.org {', site, 1)}"
    )
    tried = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", file],
        check=False,
        capture_output=True,
        text=True,
    )
    assert tried.returncode == 0, tried.stderr
    return [program, "run", "--adapter", "caddyfile", "--config", str(file)]


@asynccontextmanager
async def running(
    command: list[str], url: str, session: aiohttp.ClientSession, env: dict[str, str]
) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )

    async def answers() -> bool:
        assert process.returncode is None, "the proxy has ended"
        try:
            async with session.get(f"{url}/health") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await eventually(answers, within_s=20)
        yield
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("proxy", [nginx, caddy])
async def test_a_hub_behind_a_proxy(proxy: object, tmp_path: Path) -> None:
    port = free_port()
    hub = Hub(tmp_path, SETTINGS)
    text = hub.config.read_text()
    hub.config.write_text(text.replace("[security]\n", '[security]\ntrusted_proxies = ["127.0.0.1/32"]\n'))
    command = proxy(tmp_path, port, hub.port)  # type: ignore[operator]
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    url = f"https://127.0.0.1:{port}"
    async with (
        hub,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
        running(command, url, session, {**os.environ, "HOME": str(tmp_path)}),
    ):
        headers = {"Authorization": f"Bearer {hub.key}"}

        async with session.get(f"{url}/api/v1/events/stream?since=0", headers=headers) as stream:
            async with session.post(
                f"{url}/api/v1/tasks", json={"title": "Seen at once"}, headers=headers
            ) as answer:
                assert answer.status == 201
            async with asyncio.timeout(10):
                while b"Seen at once" not in await stream.content.readline():
                    pass

        async with session.ws_connect(f"{url}/api/v1/stream", headers={**headers, "Origin": url}) as socket:
            await socket.send_json({"op": "ping"})
            assert json.loads((await socket.receive(timeout=10)).data)["op"] == "pong"

        async with session.post(
            f"{url}/api/v1/webhooks/ci", data=BytesIO(bytes(LARGE)), headers={"X-Forwarded-For": "192.0.2.7"}
        ) as answer:
            assert answer.status in {401, 415}, (
                "a large one comes through, and is refused by the hub for what it is"
            )
        async with session.post(
            f"{url}/api/v1/webhooks/ci", json={}, headers={"X-Forwarded-For": "192.0.2.7"}
        ) as answer:
            assert answer.status == 401
        receipts = await hub.ok("GET", "/api/v1/webhooks?status=rejected")
        remotes = {remote for (remote,) in hub.rows("SELECT remote FROM webhook_receipts")}
        assert receipts["total"] >= 1
        assert remotes == {"127.0.0.1"}, "who calls is what the proxy says, not what the caller says"
