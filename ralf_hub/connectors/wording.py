"""What a connector says of an event: the notice, or the operator's template where there is one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ralf_hub.connectors.base import Fact
from ralf_hub.notices import Notice, word

if TYPE_CHECKING:
    from ralf_hub.connectors.templates import Templates


@dataclass(frozen=True, slots=True)
class Worded:
    """An event in words. `text` is the template's, escaped already; None where the notice stands as it is.

    `template_error` says why a configured template was not used for this event.
    """

    notice: Notice
    text: str | None = None
    template_error: str | None = None


class Wording:
    """Words events for one connector instance; *escape* makes a value safe for its service."""

    def __init__(self, template: Mapping[str, str] | str | None, escape: Callable[[str], str]) -> None:
        self._templates = None if template is None else _compile(template, escape)

    def __call__(self, fact: Fact) -> Worded:
        """Return *fact* in words."""
        notice = word(fact.event, fact.task, fact.feature, fact.hub_url)
        rendered = None if self._templates is None else self._templates.render(fact, notice)
        if rendered is None:
            return Worded(notice)
        if rendered.error is not None:
            return Worded(notice, template_error=rendered.error)
        return Worded(notice, rendered.text)


def _compile(template: Mapping[str, str] | str, escape: Callable[[str], str]) -> "Templates":
    # Imported here: jinja2 costs memory that a hub without templates need not pay.
    from ralf_hub.connectors.templates import Templates  # noqa: PLC0415

    return Templates(template, escape)
