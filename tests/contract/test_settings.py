"""Contract 2: the specification's file, the environment, secrets, reloads, routes that meet."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.box import Box, Ground, quick, until
from tests.contract.conftest import SETTINGS
from tests.doubles.contract import SHARED
from tests.doubles.receiver import Receiver
from tests.doubles.slack import WEBHOOK_PATH, Slack
from tests.journeys.hub import free_port

pytestmark = pytest.mark.journey

SPECIFICATION = SHARED / "specs" / "specification-config.yaml"
KEY = "rh_" + "k" * 43
OWN_SAMPLE = """\
api:
  port: 8080
  auth_type: "api_key"
  api_keys: ["${RALF_API_KEY}"]
  rate_limit: {enabled: true, requests_per_minute: 60}
  cors: {enabled: true, origins: ["http://localhost:3000"]}
connectors:
  slack: {enabled: true, webhook_url: "${SLACK_WEBHOOK_URL}", bot_token: "${SLACK_BOT_TOKEN}", channel: "#ralf-updates",
          events: ["task_completed", "task_failed", "feature_delivered"]}
  jira: {enabled: false, base_url: "https://your-domain.atlassian.net", email: "${JIRA_EMAIL}", api_token: "${JIRA_API_TOKEN}",
         project_key: "RALF", default_issue_type: "Task"}
webhooks:
  incoming: [{service: "github", path: "/api/v1/webhooks/github", secret: "${GITHUB_WEBHOOK_SECRET}", enabled: true}]
  outgoing: [{event: "task_completed", url: "${SLACK_WEBHOOK_URL}", enabled: true}]
"""


@pytest.fixture(params=["specification", "same keys"])
def sample(request: pytest.FixtureRequest) -> str:
    if request.param == "same keys":
        return OWN_SAMPLE
    if not SPECIFICATION.is_file():
        pytest.skip(f"the specification's file is not at {SPECIFICATION}")
    return SPECIFICATION.read_text(encoding="utf-8")


@pytest.fixture
def slack(ground: Ground) -> Iterator[Slack]:
    made = Slack()
    ground.run(made.start())
    yield made
    ground.run(made.stop())


@pytest.fixture
def sink(ground: Ground) -> Iterator[Receiver]:
    made = ground.receiver()
    yield made
    ground.run(made.stop())


def test_the_sample_is_taken_from_home_and_asks_only_for_what_it_needs(sample: str, tmp_path: Path) -> None:
    folder = tmp_path / ".blackbox5"
    folder.mkdir()
    (folder / "api-config.yaml").write_text(sample, encoding="utf-8")
    without = quick(tmp_path, "check")
    assert without.returncode == 2
    assert "SLACK_WEBHOOK_URL" in without.stdout
    assert "JIRA" not in without.stdout
    assert "TRELLO" not in without.stdout
    url = "https://hooks.slack.com/services/T0/B0/abcdefghijklmnop"
    done = quick(
        tmp_path, "check", SLACK_WEBHOOK_URL=url, RALF_API_KEY=KEY, GITHUB_WEBHOOK_SECRET="secret-of-github"
    )
    assert done.returncode == 0, done.stdout
    assert "api-config.yaml" in done.stdout
    assert "delivered once" in done.stdout  # both routes of task_completed lead to one place
    assert url not in done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr


def test_the_sample_with_a_bot_and_a_webhook_delivers_once(
    sample: str, ground: Ground, tmp_path: Path, slack: Slack
) -> None:
    port = free_port()
    text = sample.replace("8080", str(port))
    text += '\ndatabase: {path: "hub.db"}\nsecurity: {allowed_networks: ["127.0.0.0/8"]}\n'
    box = Box.prepare(
        ground, tmp_path / "hub", text, port,
        env={"SLACK_WEBHOOK_URL": slack.url + WEBHOOK_PATH, "RALF_API_KEY": KEY, "SLACK_BOT_TOKEN": ""},
    )  # fmt: skip
    try:
        task = box.task("Polish the lens")
        box.patch(f"/tasks/{task['id']}", {"status": "completed"})
        until(lambda: box.value("SELECT count(*) FROM outbox WHERE state = 'delivered'") == 1)
        assert box.value("SELECT count(*) FROM outbox") == 1
        assert len(slack.workspace.messages) == 1
        assert "Polish the lens" in slack.workspace.messages[0].text
        assert box.call("HEAD", "/api/v1/webhooks/github", key=None).status in {
            404,
            405,
        }  # its secret is not set
        for _ in range(70):
            if (refused := box.get("/tasks")).status == 429:
                break
        assert refused.status == 429
    finally:
        box.close()


def test_a_slack_url_among_the_outgoing_takes_slacks_format(
    ground: Ground, tmp_path: Path, slack: Slack, sink: Receiver
) -> None:
    outgoing = "".join(
        f'[[webhooks.outgoing]]\nevent = "{event}"\nurl = "{url}"\n'
        for event, url in (("task_completed", slack.url + WEBHOOK_PATH), ("task_*", f"{sink.url}/plain"))
    )
    # A Slack double is not at hooks.slack.com: the type says what the host would.
    outgoing = outgoing.replace(f'url = "{slack.url}', f'type = "slack"\nurl = "{slack.url}', 1)
    box = Box.start(ground, tmp_path / "hub", SETTINGS + outgoing)
    try:
        task = box.task("Polish")
        box.patch(f"/tasks/{task['id']}", {"status": "completed"})
        until(lambda: len(sink.accepted) == 2 and slack.workspace.messages)
        assert [r.json["type"] for r in sink.accepted] == ["task_created", "task_completed"]
        assert slack.workspace.messages[0].blocks
    finally:
        box.close()


def webhook(name: str, sink: Receiver, *, path: str = "x", more: str = "") -> str:
    return f'[connectors.{name}]\ntype = "webhook"\nurl = "{sink.url}/{path}"\n{more}\n'


def test_patterns_filters_and_a_second_of_one_type(ground: Ground, tmp_path: Path, sink: Receiver) -> None:
    settings = (
        webhook("all", sink, path="all", more='events = ["*"]')
        + webhook("tasks", sink, path="tasks", more='events = ["task_*", "!task_progress"]')
        + webhook(
            "urgent",
            sink,
            path="urgent",
            more='events = ["task_created"]\nfilter = { priority = ["critical"] }',
        )
        + webhook("off", sink, path="off", more='enabled = false\nevents = ["*"]')
        + webhook("twice", sink, path="all", more='events = ["task_created", "note"]')
    )
    box = Box.start(ground, tmp_path / "hub", SETTINGS + settings)
    try:
        for priority in ("critical", "low"):
            box.task(priority=priority)
        box.post(f"/tasks/{box.get('/tasks').json['tasks'][0]['id']}/progress", {"percent": 5})
        box.post("/events", {"type": "note"})
        until(lambda: not box.value("SELECT count(*) FROM outbox WHERE state = 'pending'"))
        got = {
            path: sorted(r.json["type"] for r in sink.accepted if r.path == f"/{path}")
            for path in ("all", "tasks", "urgent", "off")
        }
        assert got == {
            "all": ["note", "task_created", "task_created", "task_progress"],  # and not again for `twice`
            "tasks": ["task_created", "task_created"],
            "urgent": ["task_created"],
            "off": [],
        }
        assert box.command("verify").returncode == 0
        checked = box.command("check")
        assert checked.returncode == 0
        assert "twice" in checked.stdout
        assert "delivered once" in checked.stdout
    finally:
        box.close()


def test_a_changed_file_and_a_hangup_take_effect_and_lose_nothing(
    ground: Ground, tmp_path: Path, sink: Receiver
) -> None:
    first = webhook("one", sink, path="one", more='events = ["*"]')
    box = Box.start(ground, tmp_path / "hub", SETTINGS + first)
    try:
        fingerprint = box.call("GET", "/health").json["settings"]
        sink.faults.clear()
        ground.run(sink.refuse())
        held = box.task("told when the sink is back")
        box.hub.write_settings(SETTINGS + first + webhook("two", sink, path="two", more='events = ["*"]'))
        until(lambda: box.call("GET", "/health").json["settings"] != fingerprint)
        assert {c["name"] for c in box.get("/connectors").json["connectors"]} == {"one", "two"}
        ground.run(sink.listen())
        until(lambda: [r for r in sink.accepted if r.path == "/one"])
        assert sink.accepted[0].json["data"]["task_id"] == held["id"]
        both = box.task("told to both")
        until(
            lambda: (
                {r.path for r in sink.accepted if r.json["data"].get("task_id") == both["id"]}
                == {"/one", "/two"}
            )
        )

        in_force = box.call("GET", "/health").json["settings"]
        box.hub.write_settings("[delivery]\nmax_atempts = 3\n")
        os.kill(box.hub.pid, signal.SIGHUP)
        until(lambda: box.call("GET", "/health").json["checks"]["settings"] != "ok")
        health = box.call("GET", "/health")
        assert (health.status, health.json["settings"]) == (200, in_force)
        assert "max_attempts" in box.hub.output.read_text(encoding="utf-8")  # and which key is the nearest
        assert box.post("/tasks", {"title": "goes on"}).status == 201

        box.hub.write_settings(
            SETTINGS + first,
            api=f'api_keys = ["{KEY}"]\nrate_limit = {{ enabled = true, requests_per_minute = 3 }}',
        )
        until(lambda: box.call("GET", "/api/v1/tasks", key=KEY).status == 200)
        assert box.call("GET", "/health").json["checks"]["settings"] == "ok"
        until(lambda: box.call("GET", "/api/v1/tasks", key=KEY).status == 429)
    finally:
        box.close()


def test_secrets_from_files_and_defaults_of_variables(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ=\n", encoding="utf-8")
    text = f"""
[database]
path = "${{NOWHERE:-hub.db}}"
[connectors.hook]
type = "webhook"
url = "https://example.org/${{PLACE}}"
secret = "file:{tmp_path / "secret"}"
"""
    (tmp_path / "ralf-hub.toml").write_text(text, encoding="utf-8")
    without = quick(tmp_path, "check")
    assert without.returncode == 2
    assert "PLACE" in without.stdout
    done = quick(tmp_path, "check", PLACE="somewhere-very-secret")
    assert done.returncode == 0, done.stdout
    assert "somewhere-very-secret" not in done.stdout
    (tmp_path / "ralf-hub.toml").write_text(
        text.replace("[connectors.hook]", "[connectors.hook]\nenabled = false"), encoding="utf-8"
    )
    assert quick(tmp_path, "check").returncode == 0


def test_every_problem_at_once_with_file_key_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "ralf-hub.toml").write_text(
        '[api]\nprot = 1\nport = "x"\nhost = "0.0.0.0"\nauth_type = "none"\n[conectors.slack]\n'
        '[connectors.a]\ntype = "slak"\n[connectors.b]\ntype = "webhook"\nurl = "ftp://x"\nevent = ["*"]\n'
        '[delivery]\nmax_atempts = 3\n[workspace]\ntimezone = "Mars/Olympus"\n',
        encoding="utf-8",
    )
    done = quick(tmp_path, "check")
    assert done.returncode == 2
    told = done.stdout
    for key, remedy in (
        ("api.prot", "port"), ("api.port", "8080"), ("api.auth_type", "api_key"), ("conectors", "connectors"),
        ("connectors.a", "slack"), ("connectors.b.url", "https://"), ("connectors.b.event", "events"),
        ("delivery.max_atempts", "max_attempts"), ("workspace.timezone", "Europe/Berlin"),
    ):  # fmt: skip
        line = next((line for line in told.splitlines() if f" {key}: " in line), "")
        assert remedy in line, (key, line)
        assert "ralf-hub.toml" in line


def test_the_first_settings_file_found_counts(tmp_path: Path) -> None:
    home = tmp_path / ".blackbox5"
    home.mkdir()
    files = [
        tmp_path / "named.toml",
        tmp_path / "variable.toml",
        tmp_path / "ralf-hub.toml",
        home / "ralf-hub.toml",
        home / "api-config.yaml",
    ]
    for file in files:
        file.write_text("", encoding="utf-8")
    for file in files:
        arguments = ("--config", str(files[0])) if files[0].exists() else ()
        env = {"RALF_HUB_CONFIG": str(files[1])} if files[1].exists() else {}
        found = quick(tmp_path, "check", *arguments, **env).stdout
        assert re.search(rf"^{re.escape(str(file))}: ", found, re.MULTILINE), (file, found)
        file.unlink()


@pytest.mark.parametrize("markup", ["[api\n", "api = 1\napi = 2\n", "\x00", "[api]\nport = 1\nport = 2\n"])
def test_a_file_that_is_no_toml_names_the_line(tmp_path: Path, markup: str) -> None:
    (tmp_path / "ralf-hub.toml").write_text(markup, encoding="utf-8")
    done = quick(tmp_path, "check")
    assert done.returncode == 2
    assert re.search(r"ralf-hub\.toml:\d", done.stdout)


def test_many_routes_to_one_place_are_no_reason_not_to_start(tmp_path: Path) -> None:
    routes = "".join(f'[connectors.c{n}]\ntype = "console"\nevents = ["*"]\n' for n in range(40))
    (tmp_path / "ralf-hub.toml").write_text(routes, encoding="utf-8")
    done = quick(tmp_path, "check")
    assert (done.returncode, done.stdout.count("delivered once")) == (0, 39)
