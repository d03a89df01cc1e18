"""The settings of the gateway RALF had before (`server`, `auth`, ...), moved to where the hub has them."""

from collections.abc import Callable, Mapping
from typing import Final

from ralf_hub.model import ALL_SCOPES, SCOPES, Json

SECTIONS: Final = frozenset({"server", "auth"})
"""Root keys that only the older layout has."""

_PLACEHOLDERS: Final = ("change_this", "change-me", "changeme", "your-", "your_", "xoxb-your", "xoxb-...")
_PLACEHOLDER_ENDS: Final = ("-here", "/...", "_here")
_MIB: Final = 1024 * 1024
_LEVELS: Final = {"critical": "error", "fatal": "error", "warn": "warning"}
_TRANSPORT_KEYS: Final = ("max_retries", "retry_delay", "timeout")
_RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "slack": {"default_channel": "channel"},
    "jira": {"username": "email"},
    "trello": {},
}


def is_old(tree: Mapping[str, Json]) -> bool:
    """Tell whether *tree* has the older layout."""
    return bool(SECTIONS & tree.keys())


def is_placeholder(value: Json) -> bool:
    """Tell whether *value* is text that stands in an example for something to be filled in."""
    text = value.lower() if isinstance(value, str) else ""
    return text.startswith(_PLACEHOLDERS) or text.endswith(_PLACEHOLDER_ENDS)


def upgrade(tree: Mapping[str, Json], note: Callable[[str, str], None]) -> dict[str, Json]:
    """Return *tree* in the hub's layout; `note(key, reason)` is told of everything that is not carried over."""
    server, auth, webhooks = (_taken(tree.get(name)) for name in ("server", "auth", "webhooks"))
    logging, performance = (_taken(tree.get(name)) for name in ("logging", "performance"))
    connectors = _taken(tree.get("connectors"))
    trello_secret = _taken(connectors.get("trello")).get("api_secret")
    api: dict[str, Json] = {key: server.pop(key) for key in ("host", "port", "debug") if key in server}
    if api.get("host") == "localhost":
        api["host"] = "127.0.0.1"
    if "max_content_length" in performance:
        size = performance.pop("max_content_length")
        api["body_bytes_max"] = size * _MIB if isinstance(size, int) else None
    api["api_keys"] = _keys(auth.pop("api_keys", None), note)
    api["rate_limit"] = auth.pop("rate_limit", None)
    api["cors"] = {
        "enabled": server.pop("cors_enabled", None),
        "origins": server.pop("cors_origins", None),
    }
    level = logging.pop("level", None)
    if isinstance(level, str):
        level = _LEVELS.get(level.lower(), level.lower())
    upgraded: dict[str, Json] = {
        "api": _without_nothing(api),
        "connectors": {name: _connector(name, _taken(section), note) for name, section in connectors.items()},
        "webhooks": {"incoming": _incoming(webhooks, trello_secret, note)},
        "logging": _without_nothing({"level": level}),
    }
    rests = {
        "server": server,
        "auth": auth,
        "webhooks": webhooks,
        "logging": logging,
        "performance": performance,
    }
    for section, rest in rests.items():
        for key in rest:
            note(f"{section}.{key}", "the hub has no such setting")
    for section in tree.keys() - rests.keys() - {"connectors"}:
        note(section, "the hub has no such section")
    return {section: value for section, value in upgraded.items() if value}


def _taken(section: Json) -> dict[str, Json]:
    return dict(section) if isinstance(section, dict) else {}


def _without_nothing(table: Mapping[str, Json]) -> dict[str, Json]:
    tables = {
        key: _without_nothing(value) if isinstance(value, dict) else value for key, value in table.items()
    }
    return {key: value for key, value in tables.items() if value is not None and value != {}}


def _keys(keys: Json, note: Callable[[str, str], None]) -> list[Json] | None:
    if not isinstance(keys, list):
        return None
    carried: list[Json] = []
    for index, item in enumerate(keys):
        place = f"auth.api_keys[{index}]"
        key = item.get("key") if isinstance(item, dict) else item
        if is_placeholder(key) or not isinstance(key, str):
            note(place, "it is an example, not a key: make one with `ralf-hub keys create`")
            continue
        if not isinstance(item, dict):
            carried.append(key)
            continue
        known = {"name": item.get("name"), "key": key}
        if item.get("scopes"):
            known["scopes"] = _scopes(item["scopes"], f"{place}.scopes", note)
            if not known["scopes"]:
                continue
        carried.append({name: value for name, value in known.items() if value is not None})
    return carried or None


def _scopes(scopes: Json, place: str, note: Callable[[str, str], None]) -> list[str]:
    """Return scopes such as `read:tasks` as the hub names them, `tasks:read`."""
    carried: list[str] = []
    for scope in scopes if isinstance(scopes, list) else [scopes]:
        verb, _, noun = str(scope).partition(":")
        renamed = scope if scope in {ALL_SCOPES, *SCOPES} else f"{noun}:{verb}"
        if renamed in {ALL_SCOPES, *SCOPES}:
            carried.append(renamed)
        else:
            note(place, "one of them names no scope of the hub")
    return carried


def _connector(name: str, section: dict[str, Json], note: Callable[[str, str], None]) -> dict[str, Json]:
    carried: dict[str, Json] = {}
    for key, value in section.items():
        place = f"connectors.{name}.{key}"
        if key in _TRANSPORT_KEYS:
            note(place, "retries and timeouts are the same for all connectors: see [delivery]")
        elif name == "trello" and key == "api_secret":
            continue  # signs webhooks: it goes there
        elif name == "trello" and key == "default_board":
            note(place, "the hub needs the board's id: write board_id")
        elif is_placeholder(value):
            note(place, "it is an example: write the real value")
        else:
            carried[_RENAMED.get(name, {}).get(key, key)] = value
    return carried


def _incoming(
    webhooks: dict[str, Json], trello_secret: Json, note: Callable[[str, str], None]
) -> list[dict[str, Json]] | None:
    shared = webhooks.pop("secret", None)
    if is_placeholder(shared):
        note("webhooks.secret", "it is an example: give each service under webhooks.incoming its own secret")
        shared = None
    if webhooks.pop("signature_algorithm", "sha256") != "sha256":
        note("webhooks.signature_algorithm", "each service is verified as it signs")
    carried: list[dict[str, Json]] = []
    for service, about in _taken(webhooks.pop("services", None)).items():
        enabled = _taken(about).get("enabled", False)
        secret = trello_secret if service == "trello" and not is_placeholder(trello_secret) else shared
        entry: dict[str, Json] = {"service": service, "enabled": enabled, "secret": secret}
        if service == "trello":
            entry["enabled"] = False
            if enabled is not False:
                note("webhooks.services.trello", "disabled: write callback_url, then enabled = true")
        carried.append({key: value for key, value in entry.items() if value is not None})
    return carried or None
