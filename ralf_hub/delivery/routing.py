"""Who gets an event: patterns, filters, and one delivery per place however many routes lead there."""

from collections.abc import Iterable, Mapping
from typing import Final

from ralf_hub.config.patterns import wants
from ralf_hub.connectors.base import Connector, EventFilter
from ralf_hub.model import Event, Task

ALERT: Final = "system_alert"


def patterns_of(connector: Connector) -> tuple[str, ...]:
    """Return the event types and patterns *connector* was given, its defaults where it was given none."""
    given = connector.settings.events
    return connector.default_events if given is None else tuple(given)


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
        self._places = {name: connector.destinations() for name, connector in connectors.items()}

    def candidates(self, event_type: str) -> tuple[Connector, ...]:
        """Return the connectors whose patterns name *event_type*."""
        known = self._by_type.get(event_type)
        if known is None:
            known = self._by_type[event_type] = tuple(
                connector
                for connector in self.connectors.values()
                if wants(patterns_of(connector), event_type)
            )
        return known

    def _one_per_place(self, connectors: Iterable[Connector]) -> list[Connector]:
        """Return *connectors* without those that lead to a place an earlier one leads to."""
        chosen: list[Connector] = []
        taken: set[str] = set()
        for connector in connectors:
            places = self._places[connector.name]
            if taken.isdisjoint(places):
                taken |= places
                chosen.append(connector)
        return chosen

    def last_resort(self, about: object) -> list[Connector]:
        """Return who is told of an alert that no route takes: it must not go unheard.

        All that people read, filters or not, but for the connector it is *about* and those that refuse alerts.
        """
        return self._one_per_place(
            connector
            for connector in self.connectors.values()
            if connector.tells_people and connector.name != about and not _refuses_alerts(connector)
        )

    def route(self, event: Event, task: Task | None) -> list[Connector]:
        """Return the connectors that get *event*, one per place. An alert never goes to the connector it is about."""
        about = event.data.get("connector") if event.type == ALERT else None
        chosen = self._one_per_place(
            connector
            for connector in self.candidates(event.type)
            if connector.name != about and passes(connector.settings.filter, event, task)
        )
        if event.type == ALERT and not chosen:
            return self.last_resort(about)
        return chosen

    def doubled(self) -> list[tuple[str, str]]:
        """Return pairs of connectors that lead to the same place, for `ralf-hub check`."""
        listed = list(self.connectors.values())
        return [
            (first.name, second.name)
            for i, first in enumerate(listed)
            for second in listed[i + 1 :]
            if not self._places[first.name].isdisjoint(self._places[second.name])
        ]


def _refuses_alerts(connector: Connector) -> bool:
    refused = tuple(pattern[1:] for pattern in patterns_of(connector) if pattern.startswith("!"))
    return wants(refused, ALERT)
