"""From a settings file to frozen settings, or to every problem in it at once."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ralf_hub.config.connectors import read_connectors
from ralf_hub.config.effective import fingerprint
from ralf_hub.config.expand import Expansion, Loc, expand
from ralf_hub.config.findings import TooManyError
from ralf_hub.config.models import Settings
from ralf_hub.config.old_layout import is_old, is_placeholder
from ralf_hub.config.patterns import probably_meant, wants
from ralf_hub.config.reader import Reader
from ralf_hub.config.sources import FILE_BYTES_MAX, Source, at, read_text, read_tree
from ralf_hub.config.webhook_models import WebhookSettings
from ralf_hub.config.webhooks import outgoing_connectors, read_incoming, read_outgoing
from ralf_hub.connectors.base import Connector, ConnectorEnv, ConnectorSettings
from ralf_hub.connectors.registry import connector_class
from ralf_hub.connectors.workspace import NAME as WRITE_BACK
from ralf_hub.connectors.workspace import WorkspaceConnector, WorkspaceSettings
from ralf_hub.errors import SettingsError, SettingsProblem
from ralf_hub.model import EVENT_TYPES, Json

_API_KEY_GOOD_LENGTH: Final = 20


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force and what is worth knowing about them."""

    settings: Settings
    source: Source
    fingerprint: str
    """Twelve hexadecimal digits that change when the settings do."""
    warnings: tuple[SettingsProblem, ...] = ()
    files: tuple[Path, ...] = ()
    """The settings file and the secret files it names: when one changes, the settings may have."""

    @property
    def path(self) -> Path:
        """The settings file."""
        return self.source.path


def load(
    source: Source | Path, env: Mapping[str, str], overrides: Mapping[str, Json] | None = None
) -> Loaded:
    """Return the settings of *source* with variables from *env*.

    *overrides* are values that win over the file's, by dotted key (`{"api.port": 9000}`); paths among them
    should be absolute. SettingsError carries every problem.
    """
    found = source if isinstance(source, Source) else at(source)
    tree, mode = read_tree(found)
    return load_tree(found, tree, env, overrides, mode)


def load_tree(
    source: Source,
    tree: dict[str, Json],
    env: Mapping[str, str],
    overrides: Mapping[str, Json] | None = None,
    mode: int = 0,
) -> Loaded:
    """Return the settings of *tree*, read from *source*, a file with permissions *mode*.

    SettingsError carries every problem.
    """
    if is_old(tree):
        message = "has the older layout (server, auth)"
        remedy = f"convert it: ralf-hub init --from {source.path}"
        raise SettingsError([SettingsProblem(str(source.path), "file", message, remedy)])
    expansion = expand(tree, env)
    _override(expansion, overrides or {})
    reader = Reader(source, expansion)
    settings: Settings | None = None
    with suppress(TooManyError):
        settings = _read(reader, expansion.tree)
        reader.findings.tell_unset()
        reader.check_permissions(mode)
    if settings is None or reader.findings.fatal:
        raise SettingsError(reader.findings.problems)
    return Loaded(
        settings,
        source,
        fingerprint(settings),
        tuple(reader.findings.problems),
        (source.path, *dict.fromkeys(reader.secret_files)),
    )


def instances(settings: Settings, env: ConnectorEnv) -> dict[str, Connector]:
    """Build the enabled connectors by name: the sections in the file's order, then the outgoing webhooks.

    Where RALF's files are written, the connector that does it is the last; it has no section of its own.
    """
    built = {
        name: connector_class(section.type)(name, section, env)
        for name, section in settings.connectors.items()
        if section.enabled
    }
    if settings.workspace.path is not None and settings.workspace.write_back != "off":
        own = WorkspaceSettings(type=WRITE_BACK, write_back=settings.workspace.write_back)
        built[WRITE_BACK] = WorkspaceConnector(own, env, env.desk)
    return built


def _override(expansion: Expansion, overrides: Mapping[str, Json]) -> None:
    for dotted, value in overrides.items():
        *sections, key = dotted.split(".")
        table = expansion.tree
        for section in sections:
            if not isinstance(table.get(section), dict):
                table[section] = {}
            table = table[section]
        table[key] = value
        loc = tuple(dotted.split("."))
        expansion.unset.pop(loc, None)
        expansion.overridden.add(loc)


def _read(reader: Reader, tree: dict[str, Json]) -> Settings | None:
    webhooks = reader.table(tree.get("webhooks"), ("webhooks",)) or {}
    sections = read_connectors(reader, tree.get("connectors"))
    incoming = read_incoming(reader, webhooks.get("incoming"))
    entries = read_outgoing(reader, webhooks.get("outgoing"))
    enabled = {name: section for name, section in sections.items() if section.enabled}
    outgoing = outgoing_connectors(reader, entries, sections)
    lists_apart = {key: value for key, value in webhooks.items() if key not in {"incoming", "outgoing"}}
    rest = {**tree, "connectors": {}, "webhooks": lists_apart}
    settings = reader.read(Settings, rest, ())
    if settings is None:
        return None
    _check(reader, settings)
    places: dict[str, Loc] = {name: ("connectors", name) for name in enabled}
    places.update({name: (*loc, "url") for name, (loc, _) in outgoing.items()})
    complete = settings.model_copy(
        update={
            "connectors": {**sections, **{name: section for name, (_, section) in outgoing.items()}},
            "webhooks": WebhookSettings.model_construct(
                incoming=incoming, outgoing=tuple(entry.webhook for entry in entries)
            ),
        }
    )
    _check_routes(reader, complete, places)
    return complete


def _check(reader: Reader, settings: Settings) -> None:
    """Note what is odd in settings that are valid."""
    for index, key in enumerate(settings.api.api_keys):
        loc: Loc = ("api", "api_keys", index)
        text = key.key.get_secret_value() if key.key else None
        if text is None:
            continue
        if is_placeholder(text):
            reader.findings.add(loc, "is an example, not a key", "make one: ralf-hub keys create --name N")
        elif len(text) < _API_KEY_GOOD_LENGTH:
            reader.findings.warn(
                loc, "is short enough to be guessed", "make one: ralf-hub keys create --name N"
            )
    for name in ("cert", "key") if settings.api.tls else ():
        try:
            read_text(getattr(settings.api.tls, name), FILE_BYTES_MAX)
        except ValueError as error:
            reader.findings.add(("api", "tls", name), str(error), "name a PEM file")
    workspace = settings.workspace
    if workspace.path is not None and not workspace.sample and not os.path.isdir(workspace.path):  # noqa: PTH112 - never raises
        remedy = "name the folder that RALF's tasks are in"
        reader.findings.warn(("workspace", "path"), "there is no such folder", remedy)
    for raw, hub_type in settings.workspace.event_types.items():
        if meant := probably_meant(hub_type):
            place = ("workspace", "event_types", raw)
            reader.findings.warn(place, "is no event type of the hub", f"did you mean {meant}?")


def _check_routes(reader: Reader, settings: Settings, places: Mapping[str, Loc]) -> None:
    """Build the connectors once, for the problems only building shows, and tell of routes that meet."""
    known: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for name, section in settings.connectors.items():
        if not section.enabled:
            continue
        try:
            connector = connector_class(section.type)(name, section, ConnectorEnv())
            wanted = frozenset(kind for kind in EVENT_TYPES if _wanted(connector, kind))
            destinations = connector.destinations()
        except ValueError as error:
            reader.findings.add(places[name], str(error))
        except Exception as error:  # noqa: BLE001 - a connector from elsewhere may raise anything
            reader.findings.add(places[name], f"cannot be built: {type(error).__name__}")
        else:
            earlier = [each for place in sorted(destinations) for each in known.get(place, ())]
            told: frozenset[str] = frozenset()
            for other, others in dict(earlier).items():
                met = (wanted & others) - told  # of many that meet for the same event, the first is named
                both = ", ".join(kind for kind in EVENT_TYPES if kind in met)
                if both:
                    message = (
                        f"leads to the same place as {other}: what both ask for ({both}) is delivered once"
                    )
                    reader.findings.warn(places[name], message)
                told |= met
            for place in destinations:
                known.setdefault(place, []).append((name, wanted))


def _wanted(connector: Connector, event_type: str) -> bool:
    section: ConnectorSettings = connector.settings
    return wants(connector.default_events if section.events is None else section.events, event_type)
