"""Where an issue can go: statuses, the transitions Jira offers, and which of them to take. Pure.

Ids of transitions differ from workflow to workflow, so they are chosen by the status they lead to: by its name where
the settings give one, else by its category (`new`, `indeterminate`, `done`), of which there are the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import Json
from ralf_hub.texts import one_line

NAME_LENGTH_MAX: Final = 100
OFFERS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Status:
    """A status of the workflow."""

    name: str
    category: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A transition that is open to the issue now."""

    id: str
    name: str
    to: Status

    @property
    def told(self) -> str:
        """The offer as an error names it."""
        return self.to.name if self.name == self.to.name else f"{self.name} -> {self.to.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where an issue is to go: a status by *name*, else any of *category*, the *favoured* first, never the *shunned*."""

    name: str = ""
    category: str = ""
    favoured: tuple[str, ...] = ()
    shunned: tuple[str, ...] = ()

    def is_met_by(self, status: Status) -> bool:
        """Return whether an issue in *status* is where it is to go."""
        if self.name:
            return status.name.casefold() == self.name.casefold()
        return status.category == self.category

    def __str__(self) -> str:
        return repr(self.name) if self.name else f"a status of the category {self.category!r}"


def where(issue: Json) -> Status | None:
    """Return the status in an answered issue; None where it shows none."""
    fields = issue.get("fields") if isinstance(issue, dict) else None
    return _status(fields.get("status")) if isinstance(fields, dict) else None


def offers(answer: Json) -> list[Offer]:
    """Return the transitions of an answer."""
    listed = answer.get("transitions") if isinstance(answer, dict) else None
    found = []
    for item in listed[:OFFERS_MAX] if isinstance(listed, list) else []:
        to = _status(item.get("to")) if isinstance(item, dict) else None
        if to is not None and isinstance(item.get("id"), str):
            found.append(Offer(item["id"], _name(item.get("name")), to))
    return found


def choose(offered: Sequence[Offer], target: Target, status: Status | None) -> Offer | None:
    """Return the transition to take; None where none leads there.

    Where an issue that nobody has begun is to be done and the workflow wants it begun first, that is the way.
    """
    shunned = {name.casefold() for name in target.shunned}
    fitting = [o for o in offered if target.is_met_by(o.to) and o.to.name.casefold() not in shunned]
    if not fitting and target.category == "done" and status is not None and status.category == "new":
        fitting = [offer for offer in offered if offer.to.category == "indeterminate"]
    ranks = {name.casefold(): rank for rank, name in enumerate(target.favoured)}
    return min(fitting, key=lambda offer: ranks.get(offer.to.name.casefold(), len(ranks)), default=None)


def _status(value: Json) -> Status | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    category = value.get("statusCategory")
    key = category.get("key") if isinstance(category, dict) else None
    return Status(_name(value["name"]), key if isinstance(key, str) else "")


def _name(value: Json) -> str:
    return one_line(str(value))[:NAME_LENGTH_MAX]
