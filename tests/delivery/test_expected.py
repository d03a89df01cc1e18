"""`verify` routes without the task: what it expects always holds what the router does with it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.connectors.base import ConnectorEnv, EventFilter
from ralf_hub.connectors.console import ConsoleConnector, ConsoleSettings
from ralf_hub.delivery.expected import expected, fingerprint
from ralf_hub.delivery.routing import Router
from ralf_hub.model import Event, Task
from ralf_hub.store.verify import Bounds


class Placed(ConsoleConnector):
    """A connector that leads to the places it is told."""

    places: frozenset[str] = frozenset()

    def destinations(self) -> frozenset[str]:
        return self.places


def placed(name: str, places: str = "", events: tuple[str, ...] | None = ("*",), **narrowing: Any) -> Placed:
    settings = ConsoleSettings(events=events, filter=EventFilter(**narrowing))
    connector = Placed(name, settings, ConnectorEnv())
    connector.places = frozenset(places or name)
    return connector


def router(*connectors: Placed) -> Router:
    return Router({connector.name: connector for connector in connectors})


def bounds(least: str, most: str) -> Bounds:
    return Bounds(frozenset(least.split()), frozenset(most.split()))


@pytest.mark.parametrize(
    ("connectors", "least", "most"),
    [
        ([placed("a"), placed("b")], "a b", "a b"),
        ([placed("a", "x"), placed("b", "x")], "a", "a"),
        ([placed("a", "x"), placed("b", "xy"), placed("c", "y")], "a c", "a c"),
        ([placed("a", "x", priority=("low",)), placed("b", "x")], "", "a b"),
        ([placed("a", "x", feature=("F-1",)), placed("b", "y")], "b", "a b"),
        ([placed("a", "x"), placed("b", "x", priority=("low",))], "a", "a"),
        ([placed("a", source=("web",)), placed("b", source=("api",))], "b", "b"),
        ([placed("a", events=("agent_*",)), placed("b", events=("!agent_*",))], "b", "b"),
        ([], "", ""),
    ],
)
def test_who_must_and_who_may_get_an_event(connectors: list[Placed], least: str, most: str) -> None:
    assert expected(router(*connectors), "task_created", "api", None) == bounds(least, most)


def test_an_alert_never_goes_to_whom_it_is_about() -> None:
    assert expected(router(placed("a"), placed("b")), "system_alert", "hub", "a") == bounds("b", "b")


def test_a_word_sent_by_hand_follows_no_route() -> None:
    assert expected(router(placed("a")), "notification", "api", None) is None


names = st.sampled_from("abcd")
patterns = st.sampled_from(["*", "task_*", "system_alert", "!system_alert", "!task_created", "agent_start"])
some_connectors = st.lists(
    st.builds(
        placed,
        names,
        st.sampled_from(["x", "y", "z", "xy", "yz"]),
        st.lists(patterns, max_size=3).map(tuple),
        priority=st.sampled_from([(), ("low",), ("high", "critical")]),
        feature=st.sampled_from([(), ("F-1",)]),
        source=st.sampled_from([(), ("api",), ("web", "cli")]),
    ),
    max_size=4,
    unique_by=lambda connector: connector.name,
)


@given(
    connectors=some_connectors,
    event_type=st.sampled_from(["task_created", "system_alert", "agent_start"]),
    source=st.sampled_from(["api", "cli", "web"]),
    about=st.none() | names,
    priority=st.none() | st.sampled_from(["low", "high"]),
    feature=st.none() | st.just("F-1"),
)
def test_what_is_routed_lies_within_what_is_expected(
    connectors: list[Placed],
    event_type: str,
    source: str,
    about: str | None,
    priority: str | None,
    feature: str | None,
) -> None:
    routes = router(*connectors)
    task = None if priority is None else Task("T-1", "t", priority=priority, feature_id=feature)
    data = {} if about is None else {"connector": about}
    event = Event("e", event_type, "2026-02-01T00:00:00.000Z", source=source, data=data)
    went = {connector.name for connector in routes.route(event, task)}
    must_and_may = expected(routes, event_type, source, about if event_type == "system_alert" else None)
    assert must_and_may is not None
    assert must_and_may.least <= went <= must_and_may.most


@pytest.mark.parametrize(
    "other",
    [
        [placed("a", "x"), placed("c", "y")],
        [placed("a", "x"), placed("b", "z")],
        [placed("a", "x"), placed("b", "y", events=("task_*",))],
        [placed("a", "x"), placed("b", "y", priority=("low",))],
        [placed("b", "y"), placed("a", "x")],
        [placed("a", "x")],
    ],
)
def test_the_fingerprint_changes_with_the_routes(other: list[Placed]) -> None:
    routes = router(placed("a", "x"), placed("b", "y"))
    assert fingerprint(routes) == fingerprint(router(placed("a", "x"), placed("b", "y")))
    assert fingerprint(routes) != fingerprint(router(*other))
