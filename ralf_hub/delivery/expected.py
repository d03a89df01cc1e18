"""What routes promise, without a task at hand: who must and who may get an event. For `verify`."""

import hashlib
from typing import Final

import orjson

from ralf_hub.delivery.routing import ALERT, Router
from ralf_hub.store.verify import Bounds

CHOSEN_BY_HAND: Final = frozenset({"notification"})
"""Events that go where someone said, whatever the routes are."""

_FINGERPRINT_DIGITS: Final = 12


def expected(router: Router, event_type: str, source: str, about: str | None) -> Bounds | None:
    """Return who must and who may get events of this type from *source*; None where no route decides.

    *about* is the connector an alert is about. Whether a filter on priority or feature let an event through depends
    on what its task was then, so a connector with one only may get it.
    """
    if event_type in CHOSEN_BY_HAND:
        return None
    least: set[str] = set()
    most: set[str] = set()
    surely_taken: set[str] = set()
    perhaps_taken: set[str] = set()
    for connector in router.candidates(event_type):
        narrowing = connector.settings.filter
        places = connector.destinations()
        if connector.name == about or (narrowing.source and source not in narrowing.source):
            continue
        if not surely_taken.isdisjoint(places):
            continue
        most.add(connector.name)
        if narrowing.priority or narrowing.feature or not perhaps_taken.isdisjoint(places):
            perhaps_taken |= places
        else:
            least.add(connector.name)
            surely_taken |= places
    if event_type == ALERT and not least:
        unheard = {connector.name for connector in router.last_resort(about)}
        return Bounds(frozenset(least if most else unheard), frozenset(most | unheard))
    return Bounds(frozenset(least), frozenset(most))


def fingerprint(router: Router) -> str:
    """Return twelve hexadecimal digits that change when it may change who gets an event."""
    routes = [
        [
            connector.name,
            connector.service,
            connector.tells_people,
            connector.default_events if connector.settings.events is None else connector.settings.events,
            connector.settings.filter.model_dump(),
            sorted(connector.destinations()),
        ]
        for connector in router.connectors.values()
    ]
    return hashlib.sha256(orjson.dumps(routes)).hexdigest()[:_FINGERPRINT_DIGITS]
