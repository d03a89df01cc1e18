"""A model check of the outbox and its lanes: whatever happens in whatever order, nothing is lost and nothing is stuck."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from ralf_hub.clock import iso
from ralf_hub.model import LANE_WAITS, Attempt, Delivery
from ralf_hub.store import outbox, schema, verdicts
from ralf_hub.store.outbox import Draft
from ralf_hub.store.verdicts import Verdict
from tests.support import START_MS

connectors = st.sampled_from(["a", "b"])
lanes = st.sampled_from([None, "T-1", "T-1", "T-2"])
states = st.sampled_from(["pending", "delivered", "dead", "cancelled"])
waits = st.sampled_from([-60, 0, 0, 5, 3600])
MAX_ATTEMPTS = 4


class OutboxMachine(RuleBasedStateMachine):
    """The dispatcher's dealings with the table, a person's with sqlite3, and the clock, in any order."""

    template: Path

    known = Bundle("known")  # ids of deliveries, pending or not, there or not
    in_hand = Bundle("in_hand")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        path = Path(self.folder) / "hub.db"
        shutil.copy(self.template, path)
        self.conn = schema.connect(path, writer=True)
        self.conn.execute("PRAGMA synchronous = OFF")  # what survives a power cut is not asked here
        self.now_ms = START_MS
        self.made = 0
        self.rows = 0
        self.held: dict[str, dict[int, Delivery]] = {"a": {}, "b": {}}

    @property
    def now(self) -> str:
        return iso(self.now_ms)

    # --- the hub ----------------------------------------------------------------------------------

    @rule(target=known, connector=connectors, lane=lanes, times=st.integers(1, 3))
    def enqueue(self, connector: str, lane: str | None, times: int) -> object:
        ids = []
        for _ in range(times):
            self.made += 1
            draft = Draft(f"e{self.made}", self.made, "note", connector, "post", "{}", lane, lane)
            outbox.insert(self.conn, draft, now=self.now)
            ids.append(int(self.conn.execute("SELECT max(id) FROM outbox").fetchone()[0]))
        self.rows += times
        return multiple(*ids)

    @rule(target=in_hand, connector=connectors, limit=st.integers(1, 5))
    def claim(self, connector: str, limit: int) -> object:
        held = self.held[connector]
        found = outbox.due(self.conn, connector, now=self.now, limit=limit, held=frozenset(held))
        for row in found:
            assert row.id not in held
            assert row.state == "pending"
            assert row.next_attempt_at <= self.now
            assert outbox.ahead_in_lane(self.conn, row) is None
        tops = [row.lane for row in found if row.lane is not None]
        assert len(tops) == len(set(tops))
        held.update({row.id: row for row in found})
        return multiple(*((connector, row.id) for row in found))

    @rule(
        taken=consumes(in_hand),
        outcome=st.sampled_from(["delivered", "retry", "limited", "dead"]),
        wait=waits,
    )
    def record(self, taken: tuple[str, int], outcome: str, wait: int) -> None:
        connector, number = taken
        row = self.held[connector].pop(number, None)
        if row is None:  # a crash came between
            return
        attempts = row.attempts + (outcome != "limited")
        state = {"delivered": "delivered", "dead": "dead"}.get(outcome, "pending")
        if outcome == "retry" and attempts >= MAX_ATTEMPTS:
            state = "dead"
        again_at = iso(self.now_ms + 1000 * max(wait, 0))
        attempt = Attempt(number, self.now, 1, outcome)
        verdict = Verdict(
            attempt, state, row.attempts, attempts, again_at, None if state == "delivered" else "no"
        )
        before = outbox.get(self.conn, number)
        verdicts.record(self.conn, [verdict], now=self.now)
        after = outbox.get(self.conn, number)
        if before is None:
            assert after is None
            return
        assert after is not None
        if state == "delivered":
            assert after.state == "delivered"
        elif before.state != "pending" or before.attempts != row.attempts:
            assert (after.state, after.attempts) == (before.state, before.attempts)
        else:
            assert (after.state, after.attempts) == (state, attempts)

    @rule()
    def crash(self) -> None:
        self.held = {"a": {}, "b": {}}

    @rule(seconds=st.sampled_from([-30, 1, 10, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.now_ms += 1000 * seconds

    # --- the operator -----------------------------------------------------------------------------

    @rule(number=known)
    def replay(self, number: int) -> None:
        if outbox.replay(self.conn, number, now=self.now):
            row = outbox.get(self.conn, number)
            assert row is not None
            assert (row.state, row.attempts) == ("pending", 0)

    @rule(number=known)
    def cancel(self, number: int) -> None:
        outbox.cancel(self.conn, number, reason="no need")

    @rule(number=known)
    def hurry(self, number: int) -> None:
        outbox.hurry(self.conn, number, now=self.now)

    @rule(state=st.sampled_from(["delivered", "dead", "cancelled"]), limit=st.integers(1, 4))
    def bulk_replay(self, state: str, limit: int) -> None:
        chosen = {"state": state, "connector": None, "since": None, "until": None}
        for number in outbox.matching_ids(self.conn, **chosen, after_id=0, up_to_id=10**6, limit=limit):
            assert outbox.replay(self.conn, number, now=self.now, state=state)

    # --- a person with sqlite3 --------------------------------------------------------------------

    @rule(number=known, state=states)
    def set_state(self, number: int, state: str) -> None:
        self.conn.execute("UPDATE outbox SET state = ? WHERE id = ?", (state, number))

    @rule(old=states, new=states)
    def set_all_states(self, old: str, new: str) -> None:
        self.conn.execute("UPDATE outbox SET state = ? WHERE state = ?", (new, old))

    @rule(number=known, lane=lanes)
    def set_lane(self, number: int, lane: str | None) -> None:
        self.conn.execute("UPDATE outbox SET lane = ? WHERE id = ?", (lane, number))

    @rule(number=known, connector=connectors)
    def set_connector(self, number: int, connector: str) -> None:
        self.conn.execute("UPDATE outbox SET connector = ? WHERE id = ?", (connector, number))

    @rule(number=known)
    def set_due(self, number: int) -> None:
        moment = self.now[:19].replace("T", " ")
        self.conn.execute("UPDATE outbox SET next_attempt_at = ? WHERE id = ?", (moment, number))

    @rule(number=consumes(known))
    def delete(self, number: int) -> None:
        self.rows -= self.conn.execute("DELETE FROM outbox WHERE id = ?", (number,)).rowcount

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.conn.execute("SELECT count(*) FROM outbox").fetchone() == (self.rows,)

    @invariant()
    def counts_are_right(self) -> None:
        real = Counter(self.conn.execute("SELECT connector, state FROM outbox").fetchall())
        counted = {
            (connector, state): n
            for connector, found in outbox.counts(self.conn).items()
            for state, n in found.items()
            if n
        }
        assert counted == real

    @invariant()
    def only_who_has_somebody_ahead_waits(self) -> None:
        waiting = self.conn.execute(
            "SELECT * FROM outbox WHERE state = 'pending' AND next_attempt_at = ?", (LANE_WAITS,)
        )
        for row in (outbox.get(self.conn, found[0]) for found in waiting.fetchall()):
            assert row is not None
            assert outbox.ahead_in_lane(self.conn, row) is not None

    def teardown(self) -> None:
        """However it was left: time passes, and everything that is pending goes out, in order."""
        if not hasattr(self, "conn"):
            return
        self.crash()
        self.now_ms += 1000 * 86_400
        last: dict[tuple[str, str], int] = {}
        for _ in range(self.rows + 1):
            found = [
                row
                for name in ("a", "b")
                for row in outbox.due(self.conn, name, now=self.now, limit=100, held=frozenset())
            ]
            if not found:
                break
            for row in found:
                if row.lane is not None:
                    assert last.get((row.connector, row.lane), 0) < row.id
                    last[row.connector, row.lane] = row.id
                attempt = Attempt(row.id, self.now, 1, "delivered")
                verdict = Verdict(attempt, "delivered", row.attempts, row.attempts + 1, self.now, None)
                verdicts.record(self.conn, [verdict], now=self.now)
        pending = self.conn.execute("SELECT count(*) FROM outbox WHERE state = 'pending'").fetchone()
        self.conn.close()
        shutil.rmtree(self.folder)
        assert pending == (0,)


@pytest.mark.parametrize("examples", [150])
def test_nothing_is_lost_or_stuck_and_lanes_keep_their_order(empty_hub: Path, examples: int) -> None:
    OutboxMachine.template = empty_hub
    run_state_machine_as_test(
        OutboxMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
