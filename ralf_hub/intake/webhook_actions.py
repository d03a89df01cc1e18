"""What the rules of a webhook do to tasks. Runs inside the transaction that stores the receipt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ralf_hub.intake import tasks as lifecycle
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import TaskDraft
from ralf_hub.model import (
    BLOCKED,
    FAILED,
    FINAL_STATUSES,
    OPEN_STATUSES,
    PENDING,
    PRIORITIES,
    Json,
    Link,
    Task,
)
from ralf_hub.store import links, receipts, tasks
from ralf_hub.texts import clean, cut, one_line
from ralf_hub.webhooks.received import Received, Thing, named
from ralf_hub.webhooks.rules import Rule
from ralf_hub.webhooks.senders import Sender

if TYPE_CHECKING:
    from ralf_hub.connectors.templates import Phrase

TITLE_LENGTH_MAX: Final = 500
TEXT_LENGTH_MAX: Final = 20_000
NAME_LENGTH_MAX: Final = 200
PHRASES_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Request:
    """What a body asks for by itself, validated: a task to create, or changes of one."""

    draft: TaskDraft | None = None
    task_id: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


def links_of(sender: Sender) -> tuple[str, ...]:
    """Return whose links a service's webhooks look through: its connectors', and those its webhooks made."""
    return (*sender.connectors, sender.source)


def linked(ledger: Ledger, sender: Sender, received: Received, key: str = "") -> Link | None:
    """Return the link to the task that stands for *key*, or else for what the webhook is about."""
    if key:
        return links.for_thing(ledger.conn, links_of(sender), ids=[key])
    thing = received.thing
    if thing is None:
        return None
    return links.for_thing(
        ledger.conn,
        links_of(sender),
        ids=[named(thing.external_id)],
        keys=[thing.key] if thing.key else (),
        urls=[thing.url] if thing.url else (),
    )


@lru_cache(maxsize=PHRASES_MAX)
def _phrase(source: str) -> "Phrase":
    # Imported here: jinja2 costs memory that a hub without webhooks need not pay.
    from ralf_hub.connectors.templates import Phrase  # noqa: PLC0415

    return Phrase(source)


@dataclass(slots=True)
class Acting:
    """One webhook being acted on. `did` and `problems` say in words what came of it."""

    ledger: Ledger
    sender: Sender
    received: Received
    link: Link | None
    request: Request | None = None
    task_id: str | None = None
    did: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def carry_out(self, rules: Sequence[Rule]) -> None:
        """Do what *rules* say, in order. HubError only from `apply`, whose sender is told."""
        acts: Mapping[str, Callable[[Rule], None]] = {
            "create_task": self._create,
            "update_task": self._update,
            "note": self._note,
            "event": self._event,
            "apply": lambda _: self._apply(),
        }
        for rule in rules:
            acts[rule.do](rule)
        if self.task_id is None:
            target = self._target("")
            self.task_id = target.id if target is not None else None

    # --- which task -------------------------------------------------------------------------------

    def _link(self, key: str) -> Link | None:
        return linked(self.ledger, self.sender, self.received, key) if key else self.link

    def _target(self, key: str) -> Task | None:
        """Return the task that is linked, or else one that is named in the texts."""
        link = self._link(key)
        ids = [link.entity_id] if link is not None else []
        for task_id in (*ids, *(() if key else self.received.mentions)):
            task = tasks.get(self.ledger.conn, task_id)
            if task is not None:
                return task
        return None

    # --- the acts ---------------------------------------------------------------------------------

    def _create(self, rule: Rule) -> None:
        key = named(self._text(rule.key, NAME_LENGTH_MAX)) if rule.key else ""
        link = self._link(key)
        task = tasks.get(self.ledger.conn, link.entity_id) if link is not None else None
        if task is not None and not (rule.renew and task.status in FINAL_STATUSES):
            self.task_id = task.id
            if rule.renew and task.status == FAILED:
                self._change(task, {"status": PENDING})
            self._say(task.id, self._text(rule.note, TEXT_LENGTH_MAX))
            return
        self._make(rule, key, link)

    def _make(self, rule: Rule, key: str, freed: Link | None) -> None:
        """Make a task for the thing or *key*, its link first: connectors must find it when they hear of the task."""
        ledger, sender, thing = self.ledger, self.sender, self.received.thing
        task_id = lifecycle.new_id(ledger)
        if freed is not None and freed.external_id is not None:
            links.free(ledger.conn, freed.connector, freed.external_id)
        about = Thing(key, key=key, url=str(self.received.facts.get("url", "")) or None) if key else thing
        if about is not None:
            link = freed or self._new_link(about)
            links.save(ledger.conn, replace(link, entity_id=task_id, last_state=None), now=ledger.now)
        task = lifecycle.create(ledger, self._draft(rule, task_id, about), source=sender.source)
        self.task_id = task.id
        self.did.append(f"created {task.id}")
        self._hold(task)

    def _new_link(self, about: Thing) -> Link:
        """Return the link to *about*: a connector's where one keeps its home, so that it is told how the task goes on."""
        homes = (self.sender.homes.get(home.casefold()) for home in about.homes if about.local_id)
        connector = next((name for name in homes if name is not None), None)
        name, external_id = (
            (connector, about.local_id) if connector else (self.sender.source, about.external_id)
        )
        return Link(name, named(external_id), about.key or None, about.url, "linked")

    def _draft(self, rule: Rule, task_id: str, about: Thing | None) -> TaskDraft:
        received = self.received
        fallback = (about.title if about is not None else "") or str(received.facts.get("title", ""))
        title = self._text(rule.title, TITLE_LENGTH_MAX) or fallback
        priority = self._text(rule.priority, NAME_LENGTH_MAX).lower()
        if priority and priority not in PRIORITIES:
            self.problems.append(f"there is no priority {priority[:40]}")
        metadata: dict[str, Json] = {"service": self.sender.route, "event": received.event_type}
        if about is not None:
            metadata["external_id"] = named(about.external_id)
            if about.url:
                metadata["url"] = about.url
        if received.facts.get("by"):
            metadata["by"] = received.facts["by"]
        return TaskDraft(
            id=task_id,
            title=cut(one_line(title[:TEXT_LENGTH_MAX]), TITLE_LENGTH_MAX)
            or f"{self.sender.route}: {received.event_type}",
            description=clean(self._text(rule.body, TEXT_LENGTH_MAX)).strip(),
            type=one_line(self._text(rule.type, NAME_LENGTH_MAX)) or None,
            priority=priority if priority in PRIORITIES else "medium",
            feature_id=one_line(self._text(rule.feature_id, NAME_LENGTH_MAX)) or None,
            metadata=metadata,
        )

    def _hold(self, task: Task) -> None:
        """Block *task* until its service may have one more open, where it may have so many only."""
        limit = self.sender.max_concurrent
        if limit is None or task.status != PENDING:
            return
        held = receipts.open_tasks(self.ledger.conn, self.sender.route) >= limit
        receipts.note_task(self.ledger.conn, task.id, self.sender.route, held=held)
        if held:
            reason = f"waits: {self.sender.route} may have {limit} open at once"
            self._change(task, {"status": BLOCKED, "error": reason}, {"reason": reason})

    def _update(self, rule: Rule) -> None:
        key = named(self._text(rule.key, NAME_LENGTH_MAX)) if rule.key else ""
        task = self._target(key)
        if task is None:
            return
        self.task_id = task.id
        if task.status == rule.status:
            return
        if task.status in FINAL_STATUSES:
            self.problems.append(f"{task.id} is {task.status} and stays so")
            return
        if task.status == FAILED and rule.status not in OPEN_STATUSES:
            task = self._change(task, {"status": PENDING})  # the way out of failed; both are one commit
        self._change(task, {"status": rule.status})
        self.did.append(f"{task.id} is {rule.status}")

    def _note(self, rule: Rule) -> None:
        task = self._target("")
        if task is not None:
            self.task_id = task.id
            self._say(task.id, self._text(rule.note, TEXT_LENGTH_MAX))

    def _event(self, rule: Rule) -> None:
        task = self._target("")
        self.ledger.record(
            rule.event,
            source=self.sender.source,
            task=task,
            data={"service": self.sender.route, **self.received.facts},
        )

    def _apply(self) -> None:
        request, source = self.request, self.sender.source
        if request is None:
            return
        if request.draft is not None:
            metadata = {**request.draft.metadata, "service": self.sender.route}
            task = lifecycle.create(self.ledger, replace(request.draft, metadata=metadata), source=source)
            self.did.append(f"created {task.id}")
            self._hold(task)
        else:
            task = lifecycle.change(self.ledger, request.task_id, request.changes, source=source)
            self.did.append(f"changed {task.id}")
        self.task_id = task.id

    # --- helpers ----------------------------------------------------------------------------------

    def _change(self, task: Task, changes: Mapping[str, Any], data: Mapping[str, Json] | None = None) -> Task:
        about = {key: self.received.facts[key] for key in ("url", "by") if key in self.received.facts}
        return lifecycle.change(
            self.ledger, task.id, changes, source=self.sender.source, data={**about, **(data or {})}
        )

    def _say(self, task_id: str, note: str) -> None:
        """Note something on a task, whatever state it is in."""
        task = tasks.get(self.ledger.conn, task_id)
        if task is None or not note.strip():
            return
        said = cut(clean(note).strip(), TEXT_LENGTH_MAX)
        if task.status in OPEN_STATUSES:
            lifecycle.progress(self.ledger, task.id, task.progress, said, source=self.sender.source)
        else:
            self.ledger.record(
                "task_updated",
                source=self.sender.source,
                task=task,
                data={"note": said, "status": task.status},
            )
        self.did.append(f"noted on {task.id}")

    def _text(self, source: str, limit: int) -> str:
        """Return what a template makes; empty, with the problem told, where it fails."""
        if "{" not in source:
            return source
        rendered = _phrase(source).render(self._names())
        if rendered.error is not None:
            self.problems.append(f"a template failed: {rendered.error}")
            return ""
        return cut(rendered.text, limit)

    def _names(self) -> dict[str, Any]:
        thing = self.received.thing
        return {
            **self.received.payload,
            "event_type": self.received.event_type,
            "service": self.sender.route,
            "facts": dict(self.received.facts),
            "thing": None
            if thing is None
            else {"id": thing.external_id, "key": thing.key, "url": thing.url, "title": thing.title},
        }
