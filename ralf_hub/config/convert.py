"""An older settings file in YAML as commented TOML, for `ralf-hub init --from`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from ralf_hub.config.expand import Loc
from ralf_hub.config.findings import key_text
from ralf_hub.config.markup import MarkupError
from ralf_hub.config.models import Settings
from ralf_hub.config.old_layout import is_old, upgrade
from ralf_hub.config.shapes import field_of, submodel
from ralf_hub.config.toml_text import to_toml
from ralf_hub.config.yaml_tree import parse_yaml
from ralf_hub.connectors.registry import BUILT_IN, connector_class
from ralf_hub.errors import SettingsError, SettingsProblem
from ralf_hub.model import Json

_HEAD: Final = """\
Settings of ralf-hub, converted from {file}.
`ralf-hub check` tells what is wrong; every key is described in docs/settings.md.
"""
_LEFT_OUT_HEAD: Final = "\nNot carried over:\n"
_NO_UNKNOWN: Final = "the hub has no such setting"


@dataclass(frozen=True, slots=True)
class Converted:
    """The new file's text, and what of the old one is not in it. The text holds the old file's secrets."""

    toml: str
    left_out: tuple[str, ...]


def convert(text: str, file: str) -> Converted:
    """Return the settings in *text*, YAML read from *file*, as TOML.

    Reads the specification's layout and the older one (`server`, `auth`). Variables stay as they are written.
    SettingsError when the text is no YAML table.
    """
    left_out: list[str] = []

    def note(key: str, reason: str) -> None:
        line = f"{key}: {reason}"
        if line not in left_out:
            left_out.append(line)

    tree = _parse(text, file)
    if is_old(tree):
        tree = upgrade(tree, note)
    tree = _known(Settings, tree, (), note)
    head = _HEAD.format(file=file)
    if left_out:
        head += _LEFT_OUT_HEAD + "\n".join(f"- {line}" for line in left_out)
    commented = "\n".join(f"# {line}".rstrip() for line in head.splitlines())
    return Converted(f"{commented}\n\n{to_toml(tree, _comment)}", tuple(left_out))


def _parse(text: str, file: str) -> dict[str, Json]:
    problems: list[SettingsProblem] = []
    tree: Json = None
    try:
        tree = parse_yaml(text)
    except MarkupError as error:
        problems = [
            SettingsProblem(f"{file}:{flaw.line}:{flaw.column}", "file", flaw.message) for flaw in error.flaws
        ]
    if not problems and not isinstance(tree, dict):
        problems.append(SettingsProblem(file, "file", "must be a table of sections"))
    if problems:
        raise SettingsError(problems)
    return dict(tree)


def _known(
    model: type[BaseModel], data: dict[str, Json], loc: Loc, note: Callable[[str, str], None]
) -> dict[str, Json]:
    """Return *data* without the keys that *model* does not have."""
    kept: dict[str, Json] = {}
    for key, value in data.items():
        place = (*loc, key)
        info = field_of(model, key)
        if info is None:
            note(key_text(place), _NO_UNKNOWN)
        elif place == ("connectors",):
            kept[key] = _known_connectors(value, note)
        else:
            kept[key] = _known_below(submodel(info.annotation), value, place, note)
    return kept


def _known_below(
    model: type[BaseModel] | None, value: Json, loc: Loc, note: Callable[[str, str], None]
) -> Json:
    if model is not None and isinstance(value, dict):
        return _known(model, value, loc, note)
    if model is not None and isinstance(value, list):
        return [_known_below(model, item, (*loc, index), note) for index, item in enumerate(value)]
    return value


def _known_connectors(sections: Json, note: Callable[[str, str], None]) -> Json:
    if not isinstance(sections, dict):
        return sections
    kept: dict[str, Json] = {}
    for name, section in sections.items():
        type_name = section.get("type", name) if isinstance(section, dict) else name
        known = type_name in BUILT_IN and isinstance(section, dict)
        model = connector_class(type_name).settings_model if known else None
        kept[name] = _known_below(model, {} if section is None else section, ("connectors", name), note)
    return kept


def _comment(loc: Loc) -> str:
    """Say above a table what it is for."""
    model: type[BaseModel] | None = Settings
    about = ""
    for part in loc:
        if isinstance(part, int):
            return ""
        info = field_of(model, part)
        if info is None:
            return ""
        about = info.description or ""
        model = submodel(info.annotation)
    return about if model is not None and loc != ("webhooks",) else ""
