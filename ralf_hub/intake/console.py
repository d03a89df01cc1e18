"""Commands from a chat carried out: local reads and writes in the transaction that stores the receipt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ralf_hub.errors import HubError
from ralf_hub.intake import tasks as lifecycle
from ralf_hub.intake.ledger import Ledger
from ralf_hub.intake.tasks import TaskDraft
from ralf_hub.model import FAILED, PENDING, TASK_STATUSES
from ralf_hub.store import connectors, outbox, tasks
from ralf_hub.texts import cut
from ralf_hub.webhooks.console import (
    ANSWER_LENGTH_MAX,
    HELP,
    QUEUE_SHOWN,
    READING,
    Order,
    read_order,
    say_queue,
    say_status,
    say_task,
)
from ralf_hub.webhooks.received import Command
from ralf_hub.webhooks.senders import Sender


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is answered, which task it was about, and which connectors go on."""

    text: str
    task_id: str | None = None
    resumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where a command is carried out."""

    ledger: Ledger
    source: str
    by: str


def carry_out(ledger: Ledger, sender: Sender, command: Command) -> Outcome:
    """Do what *command* says. Never raises for what a person typed; the answer says what is wrong."""
    order = read_order(command.text)
    if order.problem:
        return Outcome(f"{order.problem}\n\n{HELP}")
    if order.verb not in READING and sender.users and command.user_id not in sender.users:
        return Outcome("You may look at everything here, but not change it.")
    desk = _Desk(ledger, sender.source, command.by)
    try:
        outcome = _VERBS[order.verb](desk, order)
    except HubError as error:
        return Outcome(cut(error.detail, ANSWER_LENGTH_MAX))
    return Outcome(cut(outcome.text, ANSWER_LENGTH_MAX), outcome.task_id, outcome.resumed)


def _help(desk: _Desk, order: Order) -> Outcome:
    del desk, order
    return Outcome(HELP)


def _status(desk: _Desk, order: Order) -> Outcome:
    del order
    conn = desk.ledger.conn
    deliveries: dict[str, int] = {}
    for states in outbox.counts(conn).values():
        for state, n in states.items():
            deliveries[state] = deliveries.get(state, 0) + n
    wrong = {
        name: "paused" if state.paused else f"{state.breaker} ({state.reason or 'failing'})"
        for name, state in connectors.everyone(conn).items()
        if name in desk.ledger.router.connectors and (state.paused or state.breaker != "closed")
    }
    by_status = dict.fromkeys(TASK_STATUSES, 0) | tasks.counts(conn)
    return Outcome(say_status(by_status, wrong, deliveries))


def _queue(desk: _Desk, order: Order) -> Outcome:
    del order
    conn = desk.ledger.conn
    return Outcome(say_queue(tasks.claimable(conn, QUEUE_SHOWN), tasks.queue_numbers(conn)[0]))


def _task(desk: _Desk, order: Order) -> Outcome:
    task = tasks.get(desk.ledger.conn, order.argument)
    if task is None:
        return Outcome(f"There is no task {order.argument}.")
    return Outcome(say_task(task), task.id)


def _add(desk: _Desk, order: Order) -> Outcome:
    draft = TaskDraft(order.argument, metadata={"by": desk.by})
    task = lifecycle.create(desk.ledger, draft, source=desk.source)
    return Outcome(f"{task.id} is in the queue: {task.title}", task.id)


def _retry(desk: _Desk, order: Order) -> Outcome:
    task = tasks.get(desk.ledger.conn, order.argument)
    if task is None:
        return Outcome(f"There is no task {order.argument}.")
    if task.status != FAILED:
        return Outcome(f"{task.id} is {task.status.replace('_', ' ')}: there is nothing to retry.", task.id)
    lifecycle.change(
        desk.ledger, task.id, {"status": PENDING}, source=desk.source, data={"retried_by": desk.by}
    )
    return Outcome(f"{task.id} is back in the queue, by {desk.by}.", task.id)


def _acknowledge(desk: _Desk, order: Order) -> Outcome:
    task = tasks.get(desk.ledger.conn, order.argument)
    if task is None:
        return Outcome(f"There is no task {order.argument}.")
    return Outcome(f"{desk.by} looks after {task.id}.", task.id)


def _set_paused(desk: _Desk, order: Order, *, paused: bool) -> Outcome:
    ledger, name = desk.ledger, order.argument
    known = sorted(ledger.router.connectors)
    if name not in known:
        return Outcome(f"There is no connector {name}. There are: {', '.join(known) or 'none'}.")
    state = connectors.get(ledger.conn, name)
    if state.paused == paused and (paused or state.breaker == "closed"):
        return Outcome(f"{name} is {'paused' if paused else 'running'} already.")
    connectors.set_paused(ledger.conn, name, paused=paused, by=desk.by if paused else None, now=ledger.now)
    kind = "connector_paused" if paused else "connector_resumed"
    ledger.record(kind, source=desk.source, data={"connector": name, "by": desk.by})
    return Outcome(f"{name} is {'paused' if paused else 'running again'}.", resumed=() if paused else (name,))


_VERBS: Mapping[str, Callable[[_Desk, Order], Outcome]] = {
    "help": _help,
    "status": _status,
    "queue": _queue,
    "task": _task,
    "add": _add,
    "retry": _retry,
    "ack": _acknowledge,
    "pause": lambda desk, order: _set_paused(desk, order, paused=True),
    "resume": lambda desk, order: _set_paused(desk, order, paused=False),
}
