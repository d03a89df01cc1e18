from typing import Any, ClassVar

import pytest

from ralf_hub.connectors.base import ConnectorEnv, EventFilter
from ralf_hub.delivery.expected import expected
from ralf_hub.delivery.routing import Router, passes
from ralf_hub.model import Event, Feature, Task
from tests.delivery.house import Poster, PosterSettings


class People(Poster):
    tells_people = True
    default_events: ClassVar[tuple[str, ...]] = ("task_completed", "system_alert")


class Placed(Poster):
    """Its places are in its URL, separated by commas."""

    def destinations(self) -> frozenset[str]:
        return frozenset(self.settings.url.split(","))


def router(**connectors: tuple[type[Poster], dict[str, Any]]) -> Router:
    return Router(
        {
            name: kind(name, PosterSettings(**settings), ConnectorEnv())
            for name, (kind, settings) in connectors.items()
        }
    )


def event(kind: str = "task_completed", source: str = "api:me", **data: Any) -> Event:
    return Event("evt", kind, "2026", source=source, data=data)


def names(routes: Router, what: Event, task: Task | None = None) -> list[str]:
    return [connector.name for connector in routes.route(what, task)]


# --- patterns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "kind", "taken"),
    [
        (("task_completed",), "task_completed", True),
        (("task_completed",), "task_failed", False),
        (("task_*",), "task_failed", True),
        (("task_*",), "Task_failed", False),
        (("*",), "agent_stop", True),
        (("*", "!agent_*"), "agent_stop", False),
        (("!agent_*", "*"), "agent_stop", False),
        (("!agent_*",), "task_failed", True),
        (("!agent_*",), "agent_stop", False),
        (("task_*", "!task_progress"), "task_progress", False),
        ((), "task_completed", False),
        (None, "task_completed", True),
        (None, "queue_changed", False),
    ],
)
def test_patterns_say_which_events_are_taken(patterns: Any, kind: str, taken: bool) -> None:  # noqa: FBT001
    routes = router(a=(Poster, {"events": patterns}))
    assert names(routes, event(kind)) == (["a"] if taken else [])


# --- filters --------------------------------------------------------------------------------------

TASK = Task("T-1", "x", priority="high", feature_id="F-1")


@pytest.mark.parametrize(
    ("narrowing", "passed"),
    [
        ({}, True),
        ({"priority": ["high", "critical"]}, True),
        ({"priority": ["low"]}, False),
        ({"feature": ["F-1"]}, True),
        ({"feature": ["F-2"]}, False),
        ({"source": ["api:me"]}, True),
        ({"source": ["workspace"]}, False),
        ({"priority": ["high"], "feature": ["F-1"], "source": ["api:me"]}, True),
        ({"priority": ["high"], "feature": ["F-2"], "source": ["api:me"]}, False),
    ],
    ids=str,
)
def test_every_list_of_a_filter_must_match(narrowing: dict[str, Any], passed: bool) -> None:  # noqa: FBT001
    assert passes(EventFilter(**narrowing), event(), TASK) is passed


def test_what_an_event_lacks_cannot_match() -> None:
    assert not passes(EventFilter(priority=("high",)), event("queue_changed"), None)
    assert not passes(EventFilter(feature=("F-1",)), event("queue_changed"), None)
    assert not passes(EventFilter(feature=("F-1",)), event(), Task("T-2", "x"))


def test_a_feature_event_is_of_its_feature() -> None:
    delivered = event("feature_delivered", feature_id=Feature("F-1", "x").id)
    assert passes(EventFilter(feature=("F-1",)), delivered, None)


# --- places ---------------------------------------------------------------------------------------


def test_several_routes_to_one_place_are_one_delivery() -> None:
    routes = router(a=(Placed, {"url": "here"}), b=(Placed, {"url": "here"}), c=(Placed, {"url": "there"}))
    assert names(routes, event()) == ["a", "c"]
    assert routes.doubled() == [("a", "b")]


def test_a_route_that_does_not_want_the_event_takes_no_place() -> None:
    routes = router(
        a=(Placed, {"url": "here", "events": ["task_failed"]}),
        b=(Placed, {"url": "here", "filter": {"priority": ["low"]}}),
        c=(Placed, {"url": "here"}),
    )
    assert names(routes, event(), TASK) == ["c"]
    assert names(routes, event("task_failed"), TASK) == ["a"]


def test_places_that_overlap_are_told_once() -> None:
    routes = router(
        a=(Placed, {"url": "one,two"}), b=(Placed, {"url": "two,three"}), c=(Placed, {"url": "three"})
    )
    assert names(routes, event()) == ["a", "c"]


# --- alerts ---------------------------------------------------------------------------------------

DOWN = event("system_alert", "hub", code="connector_down", connector="slack")
FULL = event("system_alert", "hub", code="disk_low")


def test_an_alert_goes_to_who_asked_for_it_but_never_to_its_subject() -> None:
    routes = router(slack=(People, {}), mail=(People, {}), hook=(Poster, {"events": ["system_alert"]}))
    assert names(routes, DOWN) == ["mail", "hook"]
    assert names(routes, FULL) == ["slack", "mail", "hook"]


def test_an_alert_nobody_asked_for_goes_to_all_that_people_read() -> None:
    routes = router(
        slack=(People, {"events": ["task_completed"]}),
        mail=(People, {"events": ["task_failed"]}),
        hook=(Poster, {"events": ["task_failed"]}),
    )
    assert names(routes, FULL) == ["slack", "mail"]
    assert names(routes, DOWN) == ["mail"]
    assert names(routes, event("queue_changed")) == []


def test_an_alert_whose_only_taker_is_its_subject_is_heard_by_the_others() -> None:
    routes = router(slack=(People, {}), mail=(People, {"events": ["task_failed"]}))
    assert names(routes, DOWN) == ["mail"]
    assert names(routes, FULL) == ["slack"]


def test_an_alert_that_every_filter_stops_is_heard_all_the_same() -> None:
    routes = router(slack=(People, {"filter": {"priority": ["critical"]}}), mail=(People, {"events": []}))
    assert names(routes, FULL) == ["slack", "mail"]


@pytest.mark.parametrize("refusal", ["!system_alert", "!system_*", "!*_alert"])
def test_who_refuses_alerts_is_left_alone(refusal: str) -> None:
    routes = router(slack=(People, {"events": ["task_*", refusal]}), mail=(People, {"events": ["task_*"]}))
    assert names(routes, FULL) == ["mail"]
    assert names(router(slack=(People, {"events": ["task_*", refusal]})), FULL) == []


def test_the_last_resort_tells_each_place_once() -> None:
    class Both(Placed):
        tells_people = True

    routes = router(a=(Both, {"url": "x", "events": []}), b=(Both, {"url": "x", "events": []}))
    assert names(routes, FULL) == ["a"]


def test_verify_expects_of_alerts_what_routing_does() -> None:
    cases = (
        router(slack=(People, {}), mail=(People, {"events": ["task_failed"]})),
        router(slack=(People, {"events": []}), hook=(Poster, {})),
        router(slack=(People, {"filter": {"priority": ["critical"]}}), mail=(People, {"events": []})),
        router(slack=(People, {}), mail=(People, {})),
        router(hook=(Poster, {"events": ["*"]})),
        router(),
    )
    for routes in cases:
        for alert, about in ((DOWN, "slack"), (FULL, None)):
            bounds = expected(routes, "system_alert", "hub", about)
            assert bounds is not None
            went = set(names(routes, alert))
            assert bounds.least <= went <= bounds.most
