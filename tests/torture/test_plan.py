"""The plan of faults: a seed repeats it, another does not, and everything happens sooner or later."""

from collections import Counter

from tests.torture.plan import PROCESS, WORLD, plan


def test_a_seed_repeats_its_plan_round_by_round() -> None:
    assert [plan(7, n, faults=10) for n in range(5)] == [plan(7, n, faults=10) for n in range(5)]
    assert plan(7, 1, faults=10) != plan(7, 2, faults=10)
    assert plan(7, 1, faults=10) != plan(8, 1, faults=10)


def test_every_fault_comes() -> None:
    rounds = [plan(1, n, faults=10) for n in range(100)]
    kinds = Counter(fault.kind for one in rounds for fault in (*one.process, *one.world))
    assert set(kinds) == {*PROCESS, *WORLD}
    assert kinds["kill"] > 500


def test_gaps_are_as_long_as_asked_for() -> None:
    process = [fault for n in range(50) for fault in plan(1, n, faults=10, gap_s=4.0).process]
    assert all(0 < fault.after_s <= 4.0 for fault in process)
    assert max(fault.after_s for fault in process) > 3.0


def test_a_fault_says_what_it_is() -> None:
    said = str(
        next(fault for n in range(100) for fault in plan(1, n, faults=10).world if fault.kind == "429")
    )
    assert "429" in said
    assert "retry_after=1" in said
