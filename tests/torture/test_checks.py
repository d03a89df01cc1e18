"""The judge of the torture: everything that may go wrong is found, and what is allowed is not."""

from typing import Any

import pytest

from tests.torture.checks import Arrival, Checker, Duty, End, Found, Row
from tests.torture.ledger import Promise

CREATED = Row(1, "evt_1", "task_created", "T-1", None)
DONE = Row(2, "evt_2", "task_completed", "T-1", None)
PROMISES = [Promise("task_created", "T-1"), Promise("task_completed", "T-1")]
DUTIES = [
    Duty("evt_1", "first", "delivered", None),
    Duty("evt_2", "first", "delivered", None),
    Duty("evt_2", "second", "delivered", None),
]
ARRIVALS = [
    Arrival("first", "evt_1", "task_created", "T-1", 1, 10.0, "taken"),
    Arrival("first", "evt_2", "task_completed", "T-1", 2, 11.0, "taken"),
    Arrival("second", "evt_2", "task_completed", "T-1", 2, 12.0, "taken"),
]
AGAIN = ARRIVALS[0]._replace(at=20.0)


def check(**changes: Any) -> Found:
    given = {
        "promises": PROMISES,
        "rows": [CREATED, DONE],
        "duties": DUTIES,
        "arrivals": ARRIVALS,
        "ends": [],
        **changes,
    }
    return Checker(concurrency=1).check(**given)


def test_where_all_is_kept_nothing_is_wrong() -> None:
    found = check()
    assert found.wrong == []
    assert (found.events, found.delivered, found.arrivals, found.lost, found.doubled) == (2, 3, 3, 0, 0)


@pytest.mark.parametrize(
    ("changes", "said", "lost"),
    [
        ({"promises": [*PROMISES, Promise("task_created", "T-2")]}, "promises without an event", 1),
        ({"rows": [CREATED, DONE, DONE._replace(seq=3, id="evt_3")]}, "more events than one", 2),
        ({"promises": [*PROMISES, PROMISES[0]]}, "promises given twice", 0),
        ({"duties": DUTIES[:2]}, "events without their delivery", 1),
        ({"arrivals": ARRIVALS[:2]}, "recorded as done that never arrived", 1),
        ({"arrivals": [*ARRIVALS[:2], ARRIVALS[2]._replace(said="hang")]}, "never arrived", 1),
        ({"duties": [*DUTIES[:2], DUTIES[2]._replace(state="pending")]}, "still waiting", 0),
        ({"duties": [*DUTIES[:2], DUTIES[2]._replace(state="dead")]}, "dead without a reason", 0),
        ({"duties": [*DUTIES, Duty("evt_9", "first", "dead", "gone")]}, "deliveries of no event", 0),
        ({"arrivals": [*ARRIVALS, ARRIVALS[0]._replace(id="evt_9")]}, "not recorded", 0),
        ({"arrivals": [ARRIVALS[1], ARRIVALS[0], ARRIVALS[2]]}, "out of order", 0),
        ({"arrivals": [*ARRIVALS, AGAIN]}, "doubled without a reason", 0),
        ({"arrivals": [*ARRIVALS, AGAIN], "ends": [End(15.0, "term")]}, "doubled without a reason", 0),
        ({"arrivals": [*ARRIVALS, AGAIN], "ends": [End(25.0, "kill")]}, "doubled without a reason", 0),
        ({"arrivals": [*ARRIVALS, ARRIVALS[2]._replace(said="forged")]}, "forged", 0),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], said: str, lost: int) -> None:
    found = check(**changes)
    assert any(said in line for line in found.wrong), found.wrong
    assert found.lost == lost


@pytest.mark.parametrize(
    "changes",
    [
        {"ends": [End(15.0, "kill")]},
        {"ends": [End(14.0, "term"), End(15.0, "kill")]},
        {"ends": [End(15.0, "term, disk failing")]},
        {"arrivals": [ARRIVALS[0]._replace(said="kept"), *ARRIVALS[1:], AGAIN]},
    ],
)
def test_what_a_kill_or_a_missing_answer_doubles_is_allowed(changes: dict[str, Any]) -> None:
    found = check(**{"arrivals": [*ARRIVALS, AGAIN], **changes})
    assert found.wrong == []
    assert found.doubled == 1


def test_more_than_was_in_flight_is_not() -> None:
    rows = [CREATED._replace(seq=n, id=f"evt_{n}", task=f"T-{n}") for n in range(3)]
    duties = [Duty(row.id, "first", "delivered", None) for row in rows]
    arrivals = [
        Arrival("first", row.id, row.type, row.task, row.seq, at, "taken")
        for at in (1.0, 9.0)
        for row in rows
    ]
    found = check(promises=[], rows=rows, duties=duties, arrivals=arrivals, ends=[End(5.0, "kill")])
    assert found.doubled_per_end_max == 3
    assert any("more than 2 in flight" in line for line in found.wrong)


def test_what_arrived_in_an_earlier_round_is_known_in_the_next() -> None:
    checker = Checker(concurrency=1)
    checker.check(PROMISES, [CREATED, DONE], DUTIES, ARRIVALS, [])
    found = checker.check([], [], [], [AGAIN], [End(15.0, "kill")])
    assert found.wrong == []
    assert found.doubled == 1


def test_a_dead_delivery_with_a_reason_is_no_loss() -> None:
    dead = DUTIES[2]._replace(state="dead", reason="gave up after 6 attempts")
    found = check(duties=[*DUTIES[:2], dead], arrivals=ARRIVALS[:2])
    assert found.wrong == []
    assert found.dead == 1
