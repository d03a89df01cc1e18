"""What is fuzzed: the parsers that strangers' bytes reach. Each takes any bytes; whatever it raises is a fault.

The same functions are driven by coverage (`make fuzz`, https://github.com/google/atheris) and by hypothesis in the tests.
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final

import orjson

from ralf_hub import signatures
from ralf_hub.config import Loaded, instances
from ralf_hub.config.load import load_tree
from ralf_hub.config.markup import MarkupError, parse_toml
from ralf_hub.config.sources import at
from ralf_hub.config.yaml_tree import parse_yaml
from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.errors import SettingsError
from ralf_hub.model import Json
from ralf_hub.verdicts import Keys, Signed, Verdict
from ralf_hub.workspace.events import Reading, as_json, events_in
from ralf_hub.workspace.headers import read_head
from ralf_hub.workspace.queue import read_queue, selection_order, taking_order
from ralf_hub.workspace.tasks import TaskSource, read_task
from ralf_hub.workspace.words import is_id

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "workspace"
COMMUNICATIONS: Final = EXAMPLE / ".autonomous" / "agents" / "communications"
LENGTH_MAX: Final = 4_096
"""Bytes of one case: what a parser can be led to do, it can be led to with few."""
NOW_S: Final = 1_770_000_000
SECRET: Final = "canary-0123456789abcdef"
HEADERS: Final = (
    "X-Hub-Signature-256", "X-Hub-Signature", "X-Gitlab-Token", "X-Trello-Webhook", "X-PagerDuty-Signature",
    "X-Slack-Signature", "X-Slack-Request-Timestamp", "X-Signature-Ed25519", "X-Signature-Timestamp", "webhook-id",
    "webhook-timestamp", "webhook-signature",
)  # fmt: skip


class Lines:
    """Bytes taken apart into lines: the first decide what is tried, the rest is what it is tried with."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def line(self) -> str:
        first, _, self._rest = self._rest.partition(b"\n")
        return first.decode("utf-8", "surrogateescape")

    @property
    def rest(self) -> bytes:
        return self._rest


def signature(data: bytes) -> None:
    """Judge a request by every scheme; nothing but a right signature is right, and no hint tells a secret."""
    lines = Lines(data)
    service = sorted(signatures.VERIFIERS)[len(lines.line()) % len(signatures.VERIFIERS)]
    headers = {HEADERS[len(lines.line()) % len(HEADERS)]: lines.line() for _ in range(3)}
    secrets = (SECRET, f"whsec_{lines.line()}", f"whpk_{lines.line()}", "ab" * 32)
    keys = Keys(secrets, callback_url="https://hub.example/hook")
    verdict = signatures.VERIFIERS[service](Signed(lines.rest, headers, NOW_S), keys)
    assert isinstance(verdict, Verdict)
    assert SECRET not in verdict.hint
    # An empty part after whsec_ is no secret, and the token of GitLab is anyone's who guesses a configured one.
    guessed = any(secret and secret in value for value in headers.values() for secret in secrets)
    assert not verdict.ok or guessed or service == "standard" or "webhook-signature" in headers
    signed = signatures.standard_headers([SECRET], "msg_1", NOW_S, lines.rest)
    assert signatures.verify_standard(Signed(lines.rest, signed, NOW_S), Keys((SECRET,))).ok
    assert not signatures.verify_standard(Signed(lines.rest + b"x", signed, NOW_S), Keys((SECRET,))).ok


def events(data: bytes) -> None:
    """Read an events file, as YAML and as JSON lines: every record can be kept, every problem has its place."""
    for name in ("events.yaml", "events.ldjson"):
        records, problems = events_in(data, Reading(name))
        for record in records:
            orjson.dumps(as_json(record))
            assert record.fingerprint
            assert record.type
            assert record.task_id is None or is_id(record.task_id)
        again, _ = events_in(data, Reading(name))
        assert [each.fingerprint for each in again] == [each.fingerprint for each in records]
        for problem in problems:
            assert problem.message
            assert problem.line is None or 1 <= problem.line <= data.count(b"\n") + data.count(b"\r") + 2


def queue(data: bytes) -> None:
    """Read a queue: every item is of a task, stands there once, and has its place in the order."""
    found = read_queue(data.decode("utf-8", "replace"), "queue.yaml", UTC)
    ids = [item.id for item in found.items]
    assert all(is_id(name) for name in ids)
    assert len(ids) == len(set(ids))
    assert sorted(item.id for item in taking_order(found)) == sorted(ids)
    ready, waiting = selection_order(found)
    assert {item.id for item in (*ready, *waiting)} <= set(ids)
    assert all(problem.message for problem in found.problems)


def task(data: bytes) -> None:
    """Read a task's file: it always is a task, whatever stands in it."""
    text = data.decode("utf-8", "replace")
    read_head(text)
    record, problems = read_task(text, TaskSource("tasks/active/TASK-1/task.md", "active", "TASK-1"), UTC)
    assert record.id == "TASK-1"
    assert record.title
    orjson.dumps(record.metadata)
    assert all(is_id(name) for name in record.depends_on)
    assert all(problem.message for problem in problems)
    encoded = json.dumps([record.title, record.description], ensure_ascii=False)
    encoded.encode()  # what cannot be stored as text has been replaced


def settings(data: bytes) -> None:
    """Read settings as TOML and as YAML: they are settings, or every problem is told, and no value is."""
    text = data.decode("utf-8", "replace")
    for parse, name in ((parse_toml, "ralf-hub.toml"), (parse_yaml, "api-config.yaml")):
        tree = _tree(parse, text)
        if not isinstance(tree, dict):
            continue
        result = _settings_of(tree, name)
        if isinstance(result, Loaded):
            assert SECRET not in repr(result)
            instances(result.settings, ConnectorEnv())
        else:
            assert any(problem.fatal for problem in result.problems)
            assert SECRET not in "".join(traceback.format_exception(result))


def _tree(parse: Callable[[str], Json], text: str) -> Json:
    try:
        return parse(text)
    except MarkupError:
        return None


def _settings_of(tree: dict[str, Json], name: str) -> Loaded | SettingsError:
    try:
        return load_tree(at(Path(name)), tree, {"SECRET": SECRET, "NUMBER": "7"})
    except SettingsError as error:
        return error


@dataclass(frozen=True, slots=True)
class Target:
    """One function to fuzz and what it begins with."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _files(*paths: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes()[:LENGTH_MAX] for path in paths)


_SIGNATURES: Final = (
    b"aaa\n\nsha256=" + b"0" * 64 + b'\n\nx\n\ny\n{"a":1}',
    b"aaaaa\naaaaaa\nv0=" + b"0" * 64 + b"\naaaaaaa\n1770000000\n\n\n\n{}",
    b"aaaaaa\naaaaaaaaaa\n1770000000\naaaaaaaaa\nmsg_1\naaaaaaaaaaa\nv1,AAAA v1a,AAAA\nAAAA\nAAAA\n{}",
    b"\naaaaaaa\n" + b"ab" * 64 + b"\naaaaaaaa\n1770000000\n\n\n\n{}",
)
_EVENTS: Final = (
    b'{"timestamp":"2026-02-01T12:00:00Z","type":"task_completed","task":"TASK-1"}\n',
    b"events:\n  - timestamp: 2026-02-01 12:00:00\n    type: started\n    data: {a: [1, ~, .inf]}\n",
    b"- {timestamp: 1770000000, type: info, notes: |-\n  x}\n- &a [*a]\n",
)
_QUEUE: Final = (
    b"queue:\n  - task_id: TASK-1\n    priority: high\n    blockedBy: [TASK-2]\n    status: pending\n",
    b"tasks:\n- id: a\n  priority_score: .nan\n  blocks: [b]\n- id: b\n  priority_score: 1e999\n",
    b"engine: {active: [{id: x}], queued: []}\n",
)
_TASK: Final = (
    b"---\nid: TASK-1\npriority: HIGH\ndepends_on: [TASK-2]\n---\n# TASK-1: Do it\n\n**Status:** pending\n",
    b"# T\n\n- **Feature:** FEATURE-001\n## Objective\n```\n# no heading\n```\n",
)
_SETTINGS: Final = (
    b'[api]\nport = 8080\napi_keys = ["${SECRET}"]\n[connectors.slack]\nwebhook_url = "https://hooks.slack.com/services/T/B/x"\n',
    b'[connectors.x]\ntype = "webhook"\nurl = "https://x.example/"\nsecret = "whsec_AAAA"\nevents = ["task_*", "!task_progress"]\n',
    b"api: {port: ${NUMBER:-8080}, auth_type: none, cors: {origins: ['*']}}\nworkspace: {timezone: Europe/Berlin}\n",
    b'[[webhooks.incoming]]\nservice = "github"\nsecret = "file:/nowhere"\n[[webhooks.outgoing]]\nevent = "*"\nurl = "https://x.example"\n',
)

TARGETS: Final = (
    Target("signature", signature, _SIGNATURES),
    Target("events", events, (*_EVENTS, *_files(COMMUNICATIONS / "events.yaml"))),
    Target("queue", queue, (*_QUEUE, *_files(COMMUNICATIONS / "queue.yaml"))),
    Target("task", task, (*_TASK, *_files(*sorted(EXAMPLE.glob("tasks/*/*/task.md"))[:5]))),
    Target("settings", settings, (*_SETTINGS, *_files(EXAMPLE.parents[1] / "ralf-hub.toml"))),
)
