"""Every problem of a settings file in plain words, collected so that all are told at once.

A message never repeats a value from the file or the environment: any of them may be a secret.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ralf_hub.config.expand import Expansion, Loc
from ralf_hub.config.patterns import nearest
from ralf_hub.config.shapes import field_of, is_secret, submodel
from ralf_hub.config.sources import Source
from ralf_hub.errors import SettingsProblem
from ralf_hub.model import Json
from ralf_hub.secrets import Redactor

_BARE_KEY: Final = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
_KEY_SHOWN_MAX: Final = 40

PROBLEMS_MAX: Final = 100

_WORDS: Final = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be one of {expected}",
    "is_instance_of": "is of the wrong kind",
}


def key_text(loc: Loc) -> str:
    """Return *loc* as people write it: `connectors.slack.events[2]`."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _BARE_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            shown = part if len(part) <= _KEY_SHOWN_MAX else part[:_KEY_SHOWN_MAX] + "..."
            text += ("." if text else "") + json.dumps(shown)
    return text or "file"


class TooManyError(Exception):
    """More is wrong than anyone reads at once; what was found so far stands in the findings."""


class Findings:
    """Collects the problems and warnings of one settings file."""

    def __init__(self, source: Source, expansion: Expansion) -> None:
        self.problems: list[SettingsProblem] = []
        self.source = source
        self.expansion = expansion
        self._revealed = set(expansion.revealed)
        self._explained: set[Loc] = set()

    @property
    def fatal(self) -> bool:
        """Whether anything found makes the settings unusable."""
        return any(problem.fatal for problem in self.problems)

    def reveal(self, secret: str) -> None:
        """Learn that *secret* was read, so that no message can carry it."""
        self._revealed.add(secret)

    def add(self, loc: Loc, message: str, remedy: str = "", *, fatal: bool = True) -> None:
        """Note a problem at *loc* of the tree; not fatal makes it a warning. The same one is noted once."""
        hide = Redactor(self._revealed)
        way = self.in_file(loc)
        file = "command line" if way in self.expansion.overridden else str(self.source.path)
        problem = SettingsProblem(file, hide(key_text(way)), hide(message), hide(remedy), fatal)
        self._keep(problem)

    def _keep(self, problem: SettingsProblem) -> None:
        if problem in self.problems:
            return
        if len(self.problems) == PROBLEMS_MAX:
            words = f"has more to tell of than these {PROBLEMS_MAX} problems and warnings"
            self.problems.append(SettingsProblem(str(self.source.path), "file", words))
            raise TooManyError
        self.problems.append(problem)

    def warn(self, loc: Loc, message: str, remedy: str = "") -> None:
        """Note what does not stop the hub but is worth a look."""
        self.add(loc, message, remedy, fatal=False)

    # --- variables that are not set ---------------------------------------------------------------

    def unset_below(self, loc: Loc) -> list[str]:
        """Return the unset variables at *loc* and below it, and take them as explained."""
        way = self.in_file(loc)
        names: list[str] = []
        for place, variables in self.expansion.unset.items():
            if place[: len(way)] == way:
                self._explained.add(place)
                names.extend(variables)
        return list(dict.fromkeys(names))

    def tell_unset(self) -> None:
        """Note every malformed variable, and warn of every unset one that no problem has explained yet."""
        for place, reason in self.expansion.malformed.items():
            self._keep(SettingsProblem(str(self.source.path), key_text(place), reason))
        for place, variables in self.expansion.unset.items():
            if place not in self._explained:
                self._explained.add(place)
                message = f"is left out, because {not_set(variables)}"
                self._keep(SettingsProblem(str(self.source.path), key_text(place), message, fatal=False))

    def in_file(self, loc: Loc) -> Loc:
        """Return *loc* with list positions as in the file, where left-out items still count."""
        way: Loc = ()
        for part in loc:
            kept = self.expansion.positions.get(way)
            known = kept is not None and isinstance(part, int) and part < len(kept)
            way = (*way, kept[part] if known and kept is not None and isinstance(part, int) else part)
        return way

    # --- what pydantic found ----------------------------------------------------------------------

    def invalid(
        self, model: type[BaseModel], data: Json, error: ValidationError, loc: Loc = (), *, only: str = ""
    ) -> None:
        """Note everything pydantic found in *data*, the raw values for *model* at *loc*; *only* one kind if named."""
        grouped: dict[Loc, list[tuple[ErrorDetails, FieldInfo | None, type[BaseModel] | None]]] = {}
        for detail in error.errors(include_url=False, include_input=False):
            if only and detail["type"] != only:
                continue
            way, info, parent = _way(model, data, detail)
            grouped.setdefault(way, []).append((detail, info, parent))
        for way, details in grouped.items():
            detail, info, parent = details[0]
            if detail["type"] == "extra_forbidden":
                self._unknown((*loc, *way), parent or model)
                continue
            message = _joined([_words(each) for each, _, _ in details])
            unset = self.unset_below((*loc, *way)) if detail["type"] in {"missing", "value_error"} else []
            if unset:
                together = not_set(unset)
                message = together if detail["type"] == "missing" else f"{message} ({together})"
                remedy = f"set {' or '.join(unset)} in the environment"
                remedy += ", or enabled = false" if loc[:1] in {("connectors",), ("webhooks",)} else ""
            else:
                remedy = _example(str(way[-1]), info, self.source) if way and isinstance(way[-1], str) else ""
            self.add((*loc, *way), message, remedy)

    def _unknown(self, loc: Loc, model: type[BaseModel]) -> None:
        known = list(model.model_fields)
        near = nearest(str(loc[-1]), known)
        remedy = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
        self.add(loc, "is not a key of these settings", remedy)


def not_set(variables: Sequence[str]) -> str:
    """Return the sentence that *variables* are not set."""
    return f"{' and '.join(variables)} {'is' if len(variables) == 1 else 'are'} not set"


def _way(
    model: type[BaseModel], data: Json, detail: ErrorDetails
) -> tuple[Loc, FieldInfo | None, type[BaseModel] | None]:
    """Return pydantic's place without the tags it puts in for unions, the last field on it, and its model."""
    way: list[str | int] = []
    node: Any = data
    inner: type[BaseModel] | None = model
    info: FieldInfo | None = None
    parent: type[BaseModel] | None = model
    parts = detail["loc"]
    for index, part in enumerate(parts):
        here = field_of(inner, part) if isinstance(part, str) else None
        in_table = isinstance(node, dict) and part in node
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        unknown = detail["type"] == "extra_forbidden" and index == len(parts) - 1
        if not (here or in_table or in_list or unknown):
            continue
        way.append(part)
        parent = inner
        if here is not None:
            info, inner = here, submodel(here.annotation)
        node = node[part] if in_table or in_list else None
    return tuple(way), info, parent


def _words(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if detail["type"] in {"value_error", "assertion_error"}:
        return str(context.get("error", "is not valid"))
    words = _WORDS.get(detail["type"])
    if words is None:
        return f"is not valid: {detail['msg']}"
    return words.format(**{key: _number(value) for key, value in context.items()})


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _joined(messages: Sequence[str]) -> str:
    """Return the messages about one value, which come from the members of a union, as one."""
    different = list(dict.fromkeys(messages))
    start = "must be "
    if len(different) > 1 and all(message.startswith(start) for message in different):
        return start + " or ".join(message.removeprefix(start) for message in different)
    return different[0]


def _example(key: str, info: FieldInfo | None, source: Source) -> str:
    if info is None:
        return ""
    about = (info.description or "").rstrip(".")
    default = info.default
    sign = ":" if source.is_yaml else " ="
    if isinstance(default, (bool, int, float, str)) and default != "" and not is_secret(info.annotation):
        return f"write {key}{sign} {json.dumps(default)} or the like ({about})"
    return f"write {key}{sign} ... ({about})" if about else f"write {key}{sign} ..."
