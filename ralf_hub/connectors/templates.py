"""Texts from the operator's own jinja2 templates: checked when settings load, bounded when they run.

A template is trusted, what it prints is not: every value it prints is escaped for the service it goes to, and
code in the template runs in jinja2's sandbox. A template sees

* `event`: `seq id type source task_id occurred_at recorded_at data`,
* `task` and `feature`: as the API shows them, or nothing,
* `notice`: the default wording, `title text severity fields url`,
* `hub_url`.

A name that does not exist is an error, not an empty string: a misspelt template would otherwise send half a
sentence for weeks. `{{ event.data.note | default("") }}` says that something may be missing.

Only `wording.py` and the settings' check import this module, and only where a template is configured.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ralf_hub.clock import iso
from ralf_hub.connectors.base import Fact
from ralf_hub.model import Event, Feature, Json, Task, event_json, task_json
from ralf_hub.notices import Notice, word
from ralf_hub.texts import cut, one_line

OUTPUT_LENGTH_MAX: Final = 20_000
"""Code points; each service has a lower limit of its own."""
SOURCE_LENGTH_MAX: Final = 20_000
ERROR_LENGTH_MAX: Final = 200
NAMES: Final = ("event", "task", "feature", "notice", "hub_url")
ANY_EVENT: Final = "*"

_FACTOR_MAX: Final = 10_000


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with products and powers bounded: `"x" * event.data.n` must not eat the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse factors that make something huge."""
        numbers = [side for side in (left, right) if isinstance(side, (int, float))]
        plain = len(numbers) == 2 and operator == "*"  # noqa: PLR2004 - number times number is never long
        if not plain and any(abs(number) > _FACTOR_MAX for number in numbers):
            raise SecurityError(f"a factor above {_FACTOR_MAX} is not allowed")
        return super().call_binop(context, operator, left, right)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template made: escaped text, or, where it failed, what went wrong."""

    text: str = ""
    error: str | None = None


class Templates:
    """The compiled templates of one connector: one for all events, or a table by event type with `*` for the rest."""

    def __init__(self, source: Mapping[str, str] | str, escape: Callable[[str], str] = str) -> None:
        table = {ANY_EVENT: source} if isinstance(source, str) else dict(source)
        self._environment = _environment(escape)
        self._compiled: dict[str, Template] = {
            event_type: self._environment.from_string(text) for event_type, text in table.items()
        }

    def render(self, fact: Fact, notice: Notice) -> Rendered | None:
        """Return what the template for this event makes; None where there is none. Never raises."""
        template = self._compiled.get(fact.event.type) or self._compiled.get(ANY_EVENT)
        if template is None:
            return None
        try:
            return Rendered(_bounded(template.generate(_names(fact, notice))))
        except Exception as error:  # noqa: BLE001 - filters and methods of outside values may raise anything
            return Rendered(error=_said(error))


def check(source: Mapping[str, str] | str) -> None:
    """Check templates before they are used. ValueError names the event type, the line and what is wrong."""
    for event_type, text in ({ANY_EVENT: source} if isinstance(source, str) else source).items():
        where = "" if event_type == ANY_EVENT else f"for {event_type}: "
        if len(text) > SOURCE_LENGTH_MAX:
            raise ValueError(
                f"{where}a template may have {SOURCE_LENGTH_MAX} characters, this one has {len(text)}"
            )
        problem = _problem(text)
        if problem:
            raise ValueError(where + problem)


def check_syntax(source: str) -> None:
    """Check a template whose names only the call that uses it knows. ValueError names the line and what is wrong."""
    if len(source) > SOURCE_LENGTH_MAX:
        raise ValueError(f"a template may have {SOURCE_LENGTH_MAX} characters, this one has {len(source)}")
    try:
        _environment(str).from_string(source)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from None


class Phrase:
    """One compiled template over names of the caller's own."""

    def __init__(self, source: str) -> None:
        self._template = _environment(str).from_string(source)

    def render(self, names: Mapping[str, Any]) -> Rendered:
        """Return what it makes of *names*. Never raises."""
        try:
            return Rendered(_bounded(self._template.generate(names)))
        except Exception as error:  # noqa: BLE001 - filters and methods of outside values may raise anything
            return Rendered(error=_said(error))


def _environment(escape: Callable[[str], str]) -> _Environment:
    def finalize(value: Any) -> str:
        return "" if value is None else escape(str(value))

    # No autoescape: the output is chat text or JSON, not HTML; `finalize` escapes for the service instead.
    return _Environment(undefined=StrictUndefined, finalize=finalize, autoescape=False)


def _problem(text: str) -> str | None:
    environment = _environment(str)
    try:
        unknown = meta.find_undeclared_variables(environment.parse(text)) - set(NAMES)
        if unknown:
            name = min(unknown)
            near = get_close_matches(name, NAMES, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(NAMES)}"
            return f"unknown name {name!r}: {remedy}"
        # A trial run finds what compiling cannot: `task.titel`. Only names are judged by it, since
        # what a template does with values depends on the values.
        _bounded(environment.from_string(text).generate(_sample()))
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    except UndefinedError as error:
        return _said(error)
    except Exception:  # noqa: BLE001 - see above
        return None
    return None


def _bounded(parts: Iterator[str]) -> str:
    """Join *parts* until there is enough of them: a runaway loop ends here."""
    kept, length = [], 0
    for part in parts:
        kept.append(part)
        length += len(part)
        if length > OUTPUT_LENGTH_MAX:
            break
    return cut("".join(kept), OUTPUT_LENGTH_MAX)


def _said(error: Exception) -> str:
    """Word an error. Only jinja2's own messages are shown, another's may repeat the values it met."""
    text = str(error) if isinstance(error, TemplateError) else type(error).__name__
    return cut(one_line(text), ERROR_LENGTH_MAX)


def _feature_json(feature: Feature) -> dict[str, Json]:
    return {**asdict(feature), "tasks": {"total": feature.tasks_total, "completed": feature.tasks_completed}}


def _names(fact: Fact, notice: Notice) -> dict[str, Any]:
    return {
        "event": event_json(fact.event),
        "task": None if fact.task is None else task_json(fact.task),
        "feature": None if fact.feature is None else _feature_json(fact.feature),
        "notice": {
            "title": notice.title,
            "text": notice.text,
            "severity": notice.severity,
            "fields": dict(notice.fields),
            "url": notice.url,
        },
        "hub_url": fact.hub_url,
    }


class _Anything:
    """Stands for what an event may carry in the trial run: has every name, prints as nothing."""

    def __getattr__(self, name: str) -> "_Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, key: object) -> "_Anything":
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __str__(self) -> str:
        return ""


def _sample() -> dict[str, Any]:
    moment = iso(0)
    event = Event("evt_sample", "task_completed", moment, task_id="T-1")
    task = Task("T-1", "A task", created_at=moment, updated_at=moment, started_at=moment, completed_at=moment)
    feature = Feature("F-1", "A feature")
    names = _names(Fact(event, task, feature, hub_url="http://localhost"), word(event, task, feature))
    names["event"]["data"] = _Anything()
    for free in ("result", "metadata"):
        names["task"][free] = _Anything()
    names["feature"]["metadata"] = names["notice"]["fields"] = _Anything()
    return names
