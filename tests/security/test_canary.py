"""A secret of its own in every setting that takes one, a whole day of failures, and then: where did they turn up?

The services are one server that is as indiscreet as can be: it answers with all that it was sent, secrets included.
"""

import asyncio
import base64
import contextlib
import json
import re
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from tests.journeys.hub import Hub
from tests.support import eventually
from tests.webhooks.signing import Signer

JSON: Final = {"Content-Type": "application/json"}


@dataclass
class Canaries:
    """The secrets by where they were put."""

    known: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, form: str = "{}", size: int = 12) -> str:
        """Return a new secret of a *form* in which `{}` stands for what is random."""
        self.known[name] = form.format(secrets.token_hex(size))
        return self.known[name]

    def found_in(self, content: bytes) -> set[str]:
        """Return the names of those that are in *content*, as they are, percent-encoded or inside base64."""
        return {name for name, value in self.known.items() if any(form in content for form in _forms(value))}


def _forms(value: str) -> set[bytes]:
    raw = value.encode()
    forms = {raw, quote(value, safe="").encode()}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        forms.add(coded[4 if shift else 0 : -4])
    return forms


class Gossip:
    """Any service, and a mail server beside it. What it is asked it tells back, with a status that changes."""

    def __init__(self) -> None:
        self.asked = 0
        self.port = self.mail_port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Gossip"]:
        app = web.Application(client_max_size=2**22)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        mail = await asyncio.start_server(self._mail, "127.0.0.1", 0)
        self.mail_port = mail.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            mail.close()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        body = (await request.read()).decode("utf-8", "replace")
        said = {
            "url": str(request.url),
            "headers": dict(request.headers),
            "body": body,
            "message": f"no: {body}",
        }
        said["error"] = said["errorMessages"] = [
            f"{request.path_qs} {request.headers.get('Authorization', '')}"
        ]
        status = (400, 500, 401, 200, 307, 403, 404, 422)[self.asked % 8]
        if self.asked % 11 == 0 and request.transport is not None:
            request.transport.abort()
        return web.json_response(
            said, status=status, headers={"Location": str(request.url), "X-Echo": request.path_qs}
        )

    async def _mail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 gossip\r\n")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line.upper().startswith(b"EHLO"):
                    writer.write(b"250-gossip\r\n250 AUTH PLAIN LOGIN\r\n")
                else:
                    writer.write(b"535 5.7.8 you said " + line.strip() + b"\r\n")
        writer.close()


def settings_of(canaries: Canaries, gossip: Gossip, folder: Path) -> tuple[str, str, dict[str, str]]:
    """Return `[api]`, the rest of the settings, and the environment: secrets written out, in files, in variables."""
    make, url = canaries.make, f"http://127.0.0.1:{gossip.port}"
    env = {
        "HOOK_PATH": make("webhook url", "hook-{}"),
        "GITHUB_SECRET": make("github secret", "gh-{}"),
        "JIRA_TOKEN": make("jira token", "ATATT{}"),
        "PD_KEY": make("pagerduty key", "{}", 16),
        "API_KEY": make("api key of the environment", "env-{}"),
    }
    files = {
        "slack": make("slack token", "xoxb-{}"),
        "trello": make("trello token", "ATTA{}"),
        "smtp": make("smtp password", "mail-{}"),
        "gitlab": make("gitlab token", "glpat-{}"),
    }
    (folder / "secrets").mkdir()
    for name, value in files.items():
        (folder / "secrets" / name).write_text(value + "\n", encoding="utf-8")
        (folder / "secrets" / name).chmod(0o600)
    signing = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    canaries.known["signing secret"] = signing
    gitlab_signing = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    canaries.known["gitlab signing key"] = gitlab_signing
    api = f"""
rate_limit.enabled = false
debug = true
api_keys = [{{ name = "me", key = "{make("api key", "rh_{}", 20)}" }}, "${{API_KEY}}"]
"""
    connectors = f"""
[logging]
level = "debug"

[delivery]
backoff_first_s = 0.05
backoff_max_s = 0.2
max_attempts = 3
breaker_failures = 10000
timeout_s = 3

[connectors.hook]
type = "webhook"
url = "{url}/${{HOOK_PATH}}?token={make("token in a URL", "q-{}")}"
secret = ["{signing}", "{make("second signing secret", "plain-{}")}"]
headers = {{ Authorization = "Bearer {make("header", "b-{}")}", X-Custom = "{make("other header", "h-{}")}" }}
events = ["task_failed"]

[connectors.slack]
webhook_url = "https://hooks.slack.com/services/T0/B0/{make("slack webhook")}"
bot_token = "file:secrets/slack"
channel = "#ralf"
base_url = "{url}"
events = ["task_failed"]

[connectors.slack-hook]
type = "slack"
webhook_url = "{url}/services/T0/B0/{make("slack webhook of a double")}"
events = ["task_failed"]

[connectors.discord]
webhook_url = "{url}/api/webhooks/1/{make("discord webhook")}"
base_url = "{url}"
events = ["task_failed"]

[connectors.discord-bot]
type = "discord"
bot_token = "{make("discord token", "MTEx.{}")}"
channel = "123456789012345678"
base_url = "{url}"
events = ["task_failed"]

[connectors.jira]
base_url = "{url}"
email = "me@example.org"
api_token = "${{JIRA_TOKEN}}"
project_key = "RALF"
events = ["task_failed"]

[connectors.trello]
api_key = "{make("trello key")}"
token = "file:secrets/trello"
board_id = "Xy12AbCd"
base_url = "{url}"
events = ["task_failed"]

[connectors.github]
token = "{make("github token", "ghp_{}")}"
repository = "owner/name"
base_url = "{url}"
events = ["task_failed"]

[connectors.gitlab]
token = "file:secrets/gitlab"
project = "owner/name"
base_url = "{url}"
events = ["task_failed"]

[connectors.pagerduty]
routing_key = "${{PD_KEY}}"
base_url = "{url}"
events = ["task_failed"]

[connectors.email]
host = "127.0.0.1"
port = {gossip.mail_port}
security = "none"
username = "ralf"
password = "file:secrets/smtp"
sender = "ralf@example.org"
to = ["you@example.org"]
events = ["task_failed"]

[connectors.apprise]
urls = ["json://user:{make("apprise password")}@127.0.0.1:{gossip.port}/{make("apprise path")}"]
events = ["task_failed"]

[connectors.console]
events = ["task_failed"]

[[webhooks.outgoing]]
event = "*"
url = "{url}/out/{make("outgoing url")}"
secret = "{make("outgoing secret", "o-{}")}"

[[webhooks.incoming]]
service = "github"
secret = ["${{GITHUB_SECRET}}", "{make("old github secret", "old-{}")}"]
catch_up = {{ repo = "owner/name", hook_id = 7, token = "{make("catch-up token", "ghp_{}")}", base_url = "{url}" }}

[[webhooks.incoming]]
service = "gitlab"
token = "{make("gitlab webhook token", "glt-{}")}"
signing_key = "{gitlab_signing}"

[[webhooks.incoming]]
service = "slack"
secret = "{make("slack signing secret")}"
"""
    return api, connectors, env


@dataclass
class Heard:
    """Everything the hub and its commands said, by where."""

    texts: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, content: bytes | str) -> None:
        data = content if isinstance(content, bytes) else content.encode()
        self.texts[where] = self.texts.get(where, b"") + b"\n" + data


async def ask_everything(hub: Hub, canaries: Canaries, heard: Heard) -> None:
    """Use every part of the API, rightly and wrongly, with secrets where they do not belong as well."""
    key = canaries.known["api key"]
    wrong = canaries.make("a key nobody has", "rh_{}", 20)
    base, headers = hub.url, {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as session:

        async def call(method: str, path: str, **more: Any) -> bytes:
            given = {"headers": headers, **more}
            async with session.request(method, base + path, allow_redirects=False, **given) as answer:
                raw = await answer.read()
                heard.add(f"{method} {path.partition('?')[0]}", raw + repr(dict(answer.headers)).encode())
                return raw

        document = json.loads(await call("GET", "/openapi.json"))
        for path, operations in document["paths"].items():
            if "get" in operations and not path.endswith("/stream"):
                filled = path.replace("{name}", "hook").replace("{service}", "github")
                await call("GET", re.sub(r"\{\w+\}", "1", filled), timeout=aiohttp.ClientTimeout(5))
        for name in ("hook", "slack", "jira", "trello", "email", "github"):
            await call("POST", f"/api/v1/connectors/{name}/test")
            await call("POST", f"/api/v1/connectors/{name}/notify", json={"message": "hello"})
        await call("GET", f"/api/v1/tasks?key={wrong}&q={wrong}")
        await call("GET", "/api/v1/tasks", headers={"X-API-Key": wrong})
        await call("GET", "/api/v1/tasks", headers={"Authorization": f"Bearer {key}x"})
        await call("POST", "/api/v1/tasks", data=b"{" + wrong.encode(), headers={**headers, **JSON})
        await call("POST", "/oauth/token", data={"grant_type": "client_credentials", "client_secret": wrong})
        await webhooks_in(call, canaries)
        ticket = json.loads(await call("POST", "/api/v1/stream/tickets"))["ticket"]
        del heard.texts["POST /api/v1/stream/tickets"]  # shown once, to whom it is for
        canaries.known["ticket"] = ticket
        async with session.ws_connect(f"{base}/api/v1/stream?ticket={ticket}") as ws:
            await ws.send_json({"op": "subscribe", "topics": ["events", "deliveries", "metrics"], "since": 0})
            await ws.send_json({"op": "task.create", "id": 1, "title": "Live"})
            while b'"metrics"' not in heard.texts.get(
                "stream", b""
            ):  # they come each second, after what is stored
                heard.add("stream", await ws.receive_str(timeout=20))
        async with session.get(
            f"{base}/api/v1/events/stream", headers={**headers, "Last-Event-ID": "0"}
        ) as events:
            heard.add("GET /api/v1/events/stream", await events.content.readany())
        made = json.loads(await call("POST", "/api/v1/keys", json={"name": "new", "scopes": ["tasks:read"]}))
        del heard.texts["POST /api/v1/keys"]  # shown once, to who made it
        canaries.known["key made by the API"] = made["key"]
        await call("GET", "/api/v1/keys", headers={"Authorization": f"Bearer {made['key']}"})
        await call("GET", "/api/v1/keys")


async def webhooks_in(call: Any, canaries: Canaries) -> None:
    """Let services call: genuine, with the wrong secret, and with the secret itself where it is sent along."""
    body = json.dumps({"action": "opened", "issue": {"number": 1, "title": "x"}}).encode()
    good, bad = Signer(canaries.known["github secret"]), Signer(canaries.known["github token"])
    for number, signer in enumerate((good, bad)):
        signed = signer.github(body, delivery=f"d-{number}")
        await call("POST", "/api/v1/webhooks/github", data=body, headers=signed)
    token = canaries.known["gitlab webhook token"]
    for number, value in enumerate((token, token + "x", canaries.known["gitlab signing key"])):
        shown = {
            "X-Gitlab-Token": value,
            "Idempotency-Key": f"g-{number}",
            "X-Gitlab-Event": "Push Hook",
            **JSON,
        }
        await call("POST", "/api/v1/webhooks/gitlab", data=b'{"object_kind":"push"}', headers=shown)


def commands(hub: Hub, canaries: Canaries, heard: Heard) -> None:
    """Run every command that says something of settings, deliveries or keys, for people and for programs."""

    def run(*arguments: str) -> str:
        done = hub.command(*arguments)
        heard.add("ralf-hub " + " ".join(arguments[:2]), done.stdout + done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    for words in (
        ("check",), ("keys", "list"), ("outbox", "list"), ("outbox", "stats"), ("outbox", "show", "1", "--json"),
        ("why", "1"), ("verify",), ("prune",), ("emit", "agent_start"), ("backup", "backup.db"),
        ("check", "--json"), ("outbox", "list", "--json"),
    ):  # fmt: skip
        run(*words)
    for name in (
        "hook", "slack", "slack-hook", "discord", "discord-bot", "jira", "trello", "github", "gitlab", "pagerduty",
        "email", "apprise",
    ):  # fmt: skip
        run("send", name, "--event", "task_failed", "--dry-run", *(["--json"] if len(name) % 2 else []))
    run("send", "jira", "--event", "task_failed")
    run("send", "email", "--event", "task_failed", "--json")
    run("check", "--live")
    for name, more in (("a key of the command line", ()), ("a client's secret", ("--oauth",))):
        made = hub.command("keys", "create", "--name", "cli", "--scopes", "tasks:read", "--json", *more)
        canaries.known[name] = json.loads(made.stdout)["key"]  # shown once, to who made it
    run("keys", "list")


async def settings_go_wrong(hub: Hub, canaries: Canaries, heard: Heard, api: str, rest: str) -> None:
    """Change the settings: to some that are wrong around a secret, to some without, and to the first again."""
    before = hub.output.read_text(encoding="utf-8").count("were not taken")
    wrong = canaries.make("a secret under a wrong name", "w-{}")
    hub.write_settings(
        rest.replace("[connectors.slack]", f'[connectors.slack]\nbot_tokn = "{wrong}"'), api=api
    )
    await eventually(
        lambda: hub.output.read_text(encoding="utf-8").count("were not taken") > before, within_s=20
    )
    heard.add("ralf-hub check", hub.command("check").stderr)
    _, health = await hub.call("GET", "/health")
    heard.add("GET /health", json.dumps(health))
    assert health["checks"]["settings"] != "ok"
    hub.write_settings("", api=api)
    await eventually(lambda: "are in force" in hub.output.read_text(encoding="utf-8"), within_s=20)
    hub.write_settings(rest, api=api)


def everything_written(hub: Hub, heard: Heard) -> dict[str, bytes]:
    """Return all there is: every file but the settings and the secrets' own, and everything that was said."""
    own = {hub.config, *(hub.folder / "secrets").iterdir()}
    files = {
        str(path.relative_to(hub.folder)): path.read_bytes()
        for path in hub.folder.rglob("*")
        if path.is_file() and path not in own
    }
    return {**files, **heard.texts}


@pytest.mark.journey
async def test_no_secret_turns_up_anywhere(tmp_path: Path) -> None:
    canaries, heard = Canaries(), Heard()
    async with Gossip().serving() as gossip:
        api, rest, env = settings_of(canaries, gossip, tmp_path)
        hub = Hub(tmp_path, rest, api=api, env=env)
        hub.config.chmod(0o600)
        hub.key = canaries.known["api key"]
        async with hub:
            for number in range(3):
                await hub.ok("POST", "/api/v1/tasks", {"id": f"T-{number}", "title": f"Task {number}"})
                await hub.ok("PATCH", f"/api/v1/tasks/T-{number}", {"status": "failed", "error": "broke"})
            asked = gossip.asked
            await eventually(lambda: gossip.asked > asked + 30, within_s=60)
            await ask_everything(hub, canaries, heard)
            await settings_go_wrong(hub, canaries, heard, api, rest)
            hub.kill()
            hub.write_settings(rest.replace("[logging]", '[logging]\nformat = "json"'), api=api)
            await hub.start()
            await asyncio.to_thread(commands, hub, canaries, heard)
            await ask_everything(hub, canaries, heard)
            tried = "SELECT count(DISTINCT connector) FROM attempts JOIN outbox ON outbox.id = delivery_id"
            failed = "SELECT count(*) FROM attempts WHERE outcome <> 'delivered' AND response IS NOT NULL"
            assert hub.value(failed) > 20, "the services must have been indiscreet"
            assert hub.value(tried) >= 10
            masked = "SELECT count(*) FROM attempts WHERE response LIKE '%***%'"
            assert hub.value(masked) > 10, "what they told of secrets was masked, not left out"
            written = everything_written(
                hub, heard
            )  # while the log and the memory beside the database are there
            assert {"hub.db", "hub.db-wal", "output.txt", "backup.db", "stream", "GET /metrics"} <= set(
                written
            )
            hub._process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
            await eventually(hub.is_dead, within_s=30)
        written.update(everything_written(hub, heard))
    size = sum(map(len, written.values()))
    assert b"DEBUG" in written["output.txt"]
    assert len(canaries.known) >= 35
    found = {where: names for where, content in written.items() if (names := canaries.found_in(content))}
    print(
        f"{len(canaries.known)} secrets, {len(written)} places, {size:,} bytes, {len(found)} with a secret in it"
    )
    assert found == {}


def test_the_search_finds_what_it_looks_for() -> None:
    canaries = Canaries()
    secret = canaries.make("a", 'x"/{}')
    for shown in (
        secret,
        quote(secret, safe=""),
        base64.b64encode(f"me@example.org:{secret}:x".encode()).decode(),
    ):
        assert canaries.found_in(b"..." + shown.encode() + b"...") == {"a"}
    assert canaries.found_in(secret[:-1].encode()) == set()
