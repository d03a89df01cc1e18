"""Who gets an event: patterns, filters, and one delivery per place however many routes lead there."""

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

from ralf_hub.connectors.base import Connector, EventFilter
from ralf_hub.model import Event, Task


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Return whether *event_type* is asked for: some pattern names it and none beginning with `!` does."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(fnmatchcase(event_type, pattern) for pattern in unwanted):
        return False
    return any(fnmatchcase(event_type, pattern) for pattern in wanted or ("*",))


def passes(narrowing: EventFilter, event: Event, task: Task | None) -> bool:
    """Return whether the filter lets the event through; what an event lacks cannot match."""
    if narrowing.priority and (task is None or task.priority not in narrowing.priority):
        return False
    feature = task.feature_id if task is not None else event.data.get("feature_id")
    if narrowing.feature and feature not in narrowing.feature:
        return False
    return not narrowing.source or event.source in narrowing.source


class Router:
    """The routes of one set of settings, decided once per event type."""

    def __init__(self, connectors: Mapping[str, Connector]) -> None:
        self.connectors = dict(connectors)
        self._by_type: dict[str, tuple[Connector, ...]] = {}
        self._patterns: Callable[[Connector], tuple[str, ...]] = lambda connector: (
            connector.default_events
            if connector.settings.events is None
            else tuple(connector.settings.events)
        )

    def candidates(self, event_type: str) -> tuple[Connector, ...]:
        """Return the connectors whose patterns name *event_type*.

        An alert nobody subscribed to goes to every connector that people read: it must not go unheard.
        """
        known = self._by_type.get(event_type)
        if known is None:
            asked = [c for c in self.connectors.values() if matches(self._patterns(c), event_type)]
            if event_type == "system_alert" and not asked:
                asked = [
                    c
                    for c in self.connectors.values()
                    if c.tells_people and "!system_alert" not in self._patterns(c)
                ]
            known = self._by_type[event_type] = tuple(asked)
        return known

    def route(self, event: Event, task: Task | None) -> list[Connector]:
        """Return the connectors that get *event*, one per place. An alert never goes to the connector it is about."""
        chosen: list[Connector] = []
        taken: set[str] = set()
        about = event.data.get("connector") if event.type == "system_alert" else None
        for connector in self.candidates(event.type):
            if connector.name == about or not passes(connector.settings.filter, event, task):
                continue
            places = connector.destinations()
            if taken.isdisjoint(places):
                taken |= places
                chosen.append(connector)
        return chosen

    def doubled(self) -> list[tuple[str, str]]:
        """Return pairs of connectors that lead to the same place, for `ralf-hub check`."""
        listed = list(self.connectors.values())
        return [
            (first.name, second.name)
            for i, first in enumerate(listed)
            for second in listed[i + 1 :]
            if not first.destinations().isdisjoint(second.destinations())
        ]
