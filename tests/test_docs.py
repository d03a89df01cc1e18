"""The documents say what is there, and what they show works. What needs a running hub is in tests/journeys."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from ralf_hub.cli import reference as commands
from ralf_hub.cli.commands import app
from ralf_hub.clock import Clock
from ralf_hub.config import load
from ralf_hub.connectors.base import ConnectorEnv, Delivered, Fact, HttpResponse, Rejected, Retry, SendContext
from ralf_hub.connectors.registry import BUILT_IN
from ralf_hub.errors import PROBLEMS
from ralf_hub.handlers import reference as api
from ralf_hub.handlers.table import ENDPOINTS
from ralf_hub.middleware import PROBLEM_TYPE
from ralf_hub.model import EVENT_TYPES, SCOPES, Delivery, Event
from ralf_hub.workspace.meaning import ALIASES, FAILED_RESULTS
from tests.snippets import CHECKOUT, PAGES, SNIPPETS, Snippet, of, snippets_in

LANGUAGES: Final = {"sh", "toml", "sql", "python", "js", "json", "text", "yaml", "nginx", "caddy"}
ENVIRONMENT: Final = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/aaaaaaaa",
    "SLACK_BOT_TOKEN": "xoxb-1-2-a",
    "JIRA_EMAIL": "ralf@example.org",
    "JIRA_API_TOKEN": "ATATT3x",
    "TRELLO_API_KEY": "0123456789abcdef",
    "TRELLO_TOKEN": "ATTA0123456789",
    "TRELLO_BOARD_ID": "Xy12AbCd",
    "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/aaaaaaaa",
    "DISCORD_BOT_TOKEN": "MTEx.a.b",
    "SMTP_PASSWORD": "mail-password",
    "TELEGRAM_APPRISE_URL": "tgram://123456789:AAbbCCddEEff/1",
    "PAGERDUTY_ROUTING_KEY": "R0123456789abcdefghijklmnopqrstu",
}


def page(name: str) -> str:
    return (CHECKOUT / "docs" / name).read_text(encoding="utf-8")


def rows(text: str) -> dict[str, str]:
    """Return the rows of all tables in *text* by what stands in backticks in their first cell."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), line))
    return found


# --- everything is documented ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "made"), [("api.md", api.reference), ("commands.md", commands.reference)])
def test_the_committed_page_is_the_one_the_code_makes(name: str, made: Any) -> None:
    assert page(name) == made(), "run: make docs"


def test_every_endpoint_and_every_scope_is_in_the_api_reference() -> None:
    text = page("api.md")
    for endpoint in ENDPOINTS:
        assert f"### `{endpoint.label}`" in text
    for scope in {*SCOPES, "*"}:
        assert f"`{scope}`" in text or f"`{scope}`" in page("settings.md")


def test_the_errors_of_an_endpoint_have_a_row_in_the_table_of_problems() -> None:
    assert {code for endpoint in ENDPOINTS for code in endpoint.errors} <= set(PROBLEMS)


def test_every_command_and_option_is_in_the_command_reference() -> None:
    text = page("commands.md")
    seen = 0
    groups = [("ralf-hub", typer.main.get_command(app))]
    while groups:
        prefix, command = groups.pop()
        if inner := getattr(command, "commands", None):
            groups += [(f"{prefix} {name}", each) for name, each in inner.items()]
            continue
        section = text.partition(f"\n## {prefix}\n")[2].partition("\n## ")[0]
        assert section, prefix
        for option in command.params:
            assert option.param_type_name == "argument" or f"`{option.opts[0]}" in section, (
                prefix,
                option.opts,
            )
            assert option.help, (prefix, option.name)
        seen += 1
    assert seen > 1


def named_in(path: Path) -> str:
    """Return what stands as code on a page: in backticks, and its shell."""
    name = path.relative_to(CHECKOUT).as_posix()
    return "\n".join(
        [
            *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", path.read_text(encoding="utf-8")),
            *(s.text for s in SNIPPETS if s.language == "sh" and s.page == name),
        ]
    )


def test_every_command_and_option_that_the_pages_name_exists() -> None:
    known = dict(commands._commands(typer.main.get_command(app), "ralf-hub"))
    seen = 0
    for path in PAGES:
        for said in re.findall(
            r"(?:^|[ /(])(ralf-hub (?!is )[a-z][^\n|;&>)]*)", named_in(path), re.MULTILINE
        ):
            words = said.split()
            name = next((n for n in (" ".join(words[:3]), " ".join(words[:2])) if n in known), None)
            groups = {n.rpartition(" ")[0] for n in known} - {"ralf-hub"}
            assert name or said.strip() in groups, f"{path.name}: {said}"
            if name is None:
                continue
            taken = {option for param in known[name].params for option in param.opts} | {"--help"}
            assert {word for word in words if word.startswith("--")} <= taken, f"{path.name}: {said}"
            seen += 1
    assert seen > 50


def test_every_setting_that_the_pages_name_exists() -> None:
    sections: dict[str, str] = {}
    for part in re.split(r"^#+ `\[+", page("settings.md"), flags=re.MULTILINE)[1:]:
        sections[part.partition("]")[0]] = part
    seen = 0
    for path in PAGES:
        for section, key in re.findall(r"^\[([a-z.]+)\] ([a-z_]+)\b", named_in(path), re.MULTILINE):
            assert section in sections, f"{path.name}: [{section}] {key}"
            assert f"| `{key}` |" in sections[section] or f"[{section}.{key}]" in page("settings.md"), (
                f"{path.name}: [{section}] {key}"
            )
            seen += 1
    assert seen > 15


def test_every_endpoint_that_the_pages_name_exists() -> None:
    known = [
        (endpoint.method, re.compile(re.sub(r"\{[^}]+\}", "[^/?]+", endpoint.path))) for endpoint in ENDPOINTS
    ]
    seen = 0
    for path in PAGES:
        for method, target in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.+:-]*)", named_in(path)):
            if target.startswith(("/api/", "/health", "/metrics", "/oauth", "/docs", "/openapi")):
                assert any(m == method and pattern.fullmatch(target) for m, pattern in known), (
                    f"{path.name}: {method} {target}"
                )
                seen += 1
    assert seen > 30


def test_every_problem_is_in_the_table_of_errors_with_its_status() -> None:
    outcomes = page("errors.md").partition("## Why a delivery is not delivered")
    assert {code: int(row.split("|")[2]) for code, row in rows(outcomes[0]).items() if code in PROBLEMS} == {
        code: problem.status for code, problem in PROBLEMS.items()
    }
    assert {"delivered", "retry", "ambiguous", "rejected", "credentials_broken", "gone"} <= set(
        rows(outcomes[2])
    )


def test_the_sample_problem_is_like_the_real_ones() -> None:
    sample = json.loads(of("json", "docs/errors.md")[0].text)
    problem = PROBLEMS[sample["code"]]
    assert (sample["status"], sample["title"]) == (problem.status, problem.title)
    assert sample["type"] == PROBLEM_TYPE + sample["code"]


def test_every_connector_is_named_in_the_readme() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert [name for name in BUILT_IN if f"`{name}`" not in readme] == []


def test_every_event_type_is_described() -> None:
    assert set(EVENT_TYPES) <= set(rows(page("events.md")))


def test_every_code_of_an_alert_is_described() -> None:
    """Alerts are recorded in several rooms; each names its code as a literal."""
    recorded = set()
    for path in (CHECKOUT / "ralf_hub").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if 'record("system_alert"' in text:
            recorded |= set(re.findall(r'"code": "([a-z_]+)"', text))
    assert len(recorded) > 3
    assert recorded <= set(rows(page("events.md")))


def test_every_alias_of_a_type_is_described() -> None:
    text = page("events.md").partition("## RALF's types")[2]
    table = rows(text)
    for raw, becomes in ALIASES.items():
        assert f"`{becomes}`" in table[raw.partition(":")[0]].split("|")[2]
    for result in FAILED_RESULTS:
        assert result in text


def test_every_table_view_and_column_is_described(conn: sqlite3.Connection) -> None:
    sections: dict[str, str] = {}
    for part in page("sql.md").partition("\n## Views\n")[2].split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        sections.update(dict.fromkeys(heading.split(", "), body.partition("\n## ")[0]))
    tables = {
        name: {column for (column,) in conn.execute("SELECT name FROM pragma_table_xinfo(?)", (name,))}
        for (name,) in conn.execute(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        )
    }
    assert set(sections) == set(tables)
    missing = {
        name: lacking
        for name, columns in tables.items()
        if (lacking := columns - set(re.findall(r"`(\w+)`", sections[name])))
    }
    assert missing == {}


def test_every_page_can_be_reached_and_every_link_leads_somewhere() -> None:
    linked = set()
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", text):
            found = (path.parent / target).resolve() if target else path
            assert found.exists(), f"{path.name} links to {target}"
            linked.add(found)
            if anchor:
                assert anchor in anchors(found), f"{path.name} links to {target}#{anchor}"
        for image in re.findall(r'(?:src|srcset)="([^"]+)"', text):
            assert (path.parent / image).exists(), f"{path.name} shows {image}"
    adr = CHECKOUT / "docs" / "adr"
    docs = {path for path in PAGES if path.is_relative_to(CHECKOUT / "docs") and path.parent != adr}
    assert docs - linked == set()
    assert adr / "README.md" in linked


def anchors(path: Path) -> set[str]:
    """Return what links may point to on a page: headings as GitHub names them, and explicit anchors."""
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return named | set(re.findall(r'<a id="([^"]+)">', text))


def test_decisions_are_numbered_without_gaps_and_listed() -> None:
    folder = CHECKOUT / "docs" / "adr"
    files = sorted(path.name for path in folder.glob("0*.md"))
    assert [name[:4] for name in files] == [f"{number:04d}" for number in range(1, len(files) + 1)]
    listed = re.findall(
        r"^\| \[\d+\]\(([^)]+)\)", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert listed == files, "docs/adr/README.md lists them"


# --- what they show works -------------------------------------------------------------------------


def test_every_snippet_is_of_a_language_that_is_checked() -> None:
    assert {str(s): s.language for s in SNIPPETS if s.language not in LANGUAGES} == {}


@pytest.mark.parametrize("snippet", of("json"), ids=str)
def test_json_is_json(snippet: Snippet) -> None:
    json.loads(snippet.text)


@pytest.mark.parametrize("snippet", of("toml"), ids=str)
def test_settings_shown_are_settings(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "ralf-hub.toml"
    secret = tmp_path / "secret"
    secret.write_text("https://hooks.slack.com/services/T0/B0/bbbbbbbb\n", encoding="utf-8")
    secret.chmod(0o600)
    text = re.sub(r'"file:[^"]+"', f'"file:{secret}"', snippet.text)  # those of the page are its reader's
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    here = {"workspace.path"}  # the reader's, not ours
    assert [warning for warning in load(file, ENVIRONMENT).warnings if warning.key not in here] == []


def test_the_settings_that_come_with_the_hub_and_its_container_load() -> None:
    for name in ("ralf-hub.toml", "examples/deploy/container.toml"):
        assert load(CHECKOUT / name, {}).settings.connectors["console"].events == ("*",)


async def test_the_connector_of_the_connector_page_works() -> None:
    (snippet,) = of("python", "docs/connectors.md")
    shown: dict[str, Any] = {"__name__": "wall"}
    exec(compile(snippet.text, str(snippet), "exec"), shown)  # noqa: S102 - our own page
    settings = shown["WallSettings"](url="http://wall.example/line")
    wall = shown["WallConnector"]("wall", settings, ConnectorEnv())
    event = Event(
        "evt_1", "task_completed", "2026-03-09T07:31:02.000Z", task_id="TASK-1", data={"title": "Tides"}
    )
    (action,) = wall.plan(Fact(event))
    delivery = Delivery(1, event.id, event.type, "wall", action.name, action.payload)
    sent = []

    async def http(request: Any) -> HttpResponse:
        sent.append(request)
        return HttpResponse(200, {}, b"")

    assert await wall.send(delivery, SendContext(http, Clock())) == Delivered(200)
    assert [(request.url, request.body) for request in sent] == [
        ("http://wall.example/line", b"Task completed: Tides")
    ]
    assert isinstance(wall.judge(delivery, HttpResponse(503, {}, b"")), Retry)
    assert isinstance(wall.judge(delivery, HttpResponse(400, {}, b"no")), Rejected)


def test_a_page_is_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "x.md"
    file.write_text(
        "a\n<!-- not run: because -->\n```sh\nrm x\n```\n\n```sql\nSELECT 1;\n```\n", encoding="utf-8"
    )
    assert [(s.line, s.language, s.text, s.excuse) for s in snippets_in(file)] == [
        (3, "sh", "rm x\n", "because"),
        (7, "sql", "SELECT 1;\n", None),
    ]
