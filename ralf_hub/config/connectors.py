"""`[connectors.NAME]` sections: each is checked by the settings model of its type."""

from ralf_hub.config.expand import Loc
from ralf_hub.config.patterns import is_pattern, nearest, probably_meant
from ralf_hub.config.reader import Reader
from ralf_hub.config.types import NAME_PATTERN
from ralf_hub.connectors.base import Connector, ConnectorSettings
from ralf_hub.connectors.registry import connector_class, known_types
from ralf_hub.connectors.workspace import NAME as WRITE_BACK
from ralf_hub.model import Json


def read_connectors(reader: Reader, data: Json) -> dict[str, ConnectorSettings]:
    """Return the sections by name, in the file's order; a disabled one keeps nothing but its type."""
    found: dict[str, ConnectorSettings] = {}
    for name, section in (reader.table(data, ("connectors",)) or {}).items():
        loc: Loc = ("connectors", name)
        if NAME_PATTERN.fullmatch(name) is None:
            reader.findings.add(
                loc, "a connector's name is letters, digits, dots, dashes and underscores, at most 64"
            )
            continue
        if name == WRITE_BACK:
            reader.findings.add(
                loc,
                "is the hub's own connector, which writes RALF's files",
                "choose another name; [workspace] has its settings",
            )
            continue
        table = reader.table(section, loc)
        settings = None if table is None else _read_section(reader, name, table, loc)
        if settings is not None:
            found[name] = settings
    return found


def _read_section(reader: Reader, name: str, table: dict[str, Json], loc: Loc) -> ConnectorSettings | None:
    type_name = table.get("type") or name
    if not isinstance(type_name, str):
        reader.findings.add((*loc, "type"), "must be text")
        return None
    enabled = reader.is_enabled(table)
    if not enabled and _lacks_library(type_name):
        reader.findings.unset_below(loc)
        return ConnectorSettings(enabled=False, type=type_name)
    connector = class_for(reader, type_name, loc)
    if connector is None:
        return None
    if not enabled:
        reader.read_disabled(connector.settings_model, table, loc)
        return ConnectorSettings(enabled=False, type=type_name)
    settings = reader.read(connector.settings_model, {**table, "type": type_name}, loc)
    if settings is not None:
        check_events(reader, settings.events, (*loc, "events"))
    return settings


def class_for(reader: Reader, type_name: str, loc: Loc) -> type[Connector] | None:
    """Return the connector class of *type_name*, or None once the problem is noted."""
    try:
        return connector_class(type_name)
    except KeyError:
        _unknown_type(reader, type_name, loc)
    except ModuleNotFoundError as error:
        reader.findings.add(
            loc,
            f"its connector needs the library {error.name}",
            f"pip install 'ralf-hub[{type_name}]', or enabled = false",
        )
    except Exception as error:  # noqa: BLE001 - a connector from elsewhere may raise anything
        reader.findings.add(loc, f"its connector cannot be loaded: {type(error).__name__}")
    return None


def _lacks_library(type_name: str) -> bool:
    """Return whether a connector is there but not the extra it needs: what is disabled may lack that."""
    try:
        connector_class(type_name)
    except ModuleNotFoundError:
        return True
    except Exception:  # noqa: BLE001 - said by `class_for`
        return False
    return False


def _unknown_type(reader: Reader, type_name: str, loc: Loc) -> None:
    types = known_types()
    near = nearest(type_name, types)
    remedy = f"did you mean {near}?" if near else f"write type = one of {', '.join(types)}"
    reader.findings.add(loc, "there is no connector of that type", remedy)


def check_events(reader: Reader, events: tuple[str, ...] | None, loc: Loc) -> None:
    """Note what can be no event type, what looks misspelt, and a list that asks for nothing."""
    if events is not None and not events:
        reader.findings.warn(loc, "asks for no event", 'write events = ["*"] for all of them')
    for index, pattern in enumerate(events or ()):
        if not is_pattern(pattern):
            reader.findings.add(
                (*loc, index), "must be an event type or a pattern", "task_completed, task_*, * or !agent_*"
            )
        elif meant := probably_meant(pattern):
            reader.findings.warn((*loc, index), "is no event type of the hub", f"did you mean {meant}?")
