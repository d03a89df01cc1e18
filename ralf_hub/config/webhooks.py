"""`webhooks.incoming` and `webhooks.outgoing`; the outgoing ones become connectors."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.config.connectors import check_events, class_for
from ralf_hub.config.expand import Loc
from ralf_hub.config.patterns import nearest
from ralf_hub.config.reader import Reader
from ralf_hub.config.shapes import secrets_in
from ralf_hub.config.types import service_of
from ralf_hub.config.webhook_models import IncomingWebhook, OutgoingWebhook
from ralf_hub.connectors.base import ConnectorSettings
from ralf_hub.model import Json

SERVICES: Final = ("discord", "github", "gitlab", "jira", "pagerduty", "slack", "trello")
"""Services whose way of signing is known; any other is verified by Standard Webhooks."""

URL_KEYS: Final[Mapping[str, str]] = {"webhook": "url", "slack": "webhook_url", "discord": "webhook_url"}
"""Under which key each type of connector takes the URL."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An enabled outgoing entry and its place in the file."""

    loc: Loc
    webhook: OutgoingWebhook


def read_incoming(reader: Reader, data: Json) -> tuple[IncomingWebhook, ...]:
    """Return the enabled entries of `webhooks.incoming`."""
    found: list[IncomingWebhook] = []
    routes: set[str] = set()
    for loc, table in _enabled(reader, data, ("webhooks", "incoming"), IncomingWebhook):
        webhook = reader.read(IncomingWebhook, table, loc)
        if webhook is None:
            continue
        if webhook.route in routes:
            reader.findings.add(
                (*loc, "path"), "is the path of an earlier entry too", "give each its own path"
            )
        routes.add(webhook.route)
        near = nearest(webhook.service, SERVICES)
        if near and near != webhook.service:
            reader.findings.warn((*loc, "service"), "is no service known by name", f"did you mean {near}?")
        if not webhook.configured:
            _warn_unconfigured(reader, webhook, loc)
        found.append(webhook)
    return tuple(found)


def _warn_unconfigured(reader: Reader, webhook: IncomingWebhook, loc: Loc) -> None:
    key = "public_key" if webhook.service == "discord" else "secret"
    unset = reader.findings.unset_below(loc)
    reader.findings.warn(
        (*loc, key),
        f"is not set: this webhook answers 404 until the {key.replace('_', ' ')} is set",
        f"set {' or '.join(unset)} in the environment" if unset else f'write {key} = "..."',
    )


def read_outgoing(reader: Reader, data: Json) -> list[Entry]:
    """Return the enabled entries of `webhooks.outgoing`."""
    found: list[Entry] = []
    for loc, table in _enabled(reader, data, ("webhooks", "outgoing"), OutgoingWebhook):
        webhook = reader.read(OutgoingWebhook, table, loc)
        if webhook is not None:
            check_events(reader, webhook.events or None, (*loc, "events"))
            check_events(reader, (webhook.event,) if webhook.event else None, (*loc, "event"))
            found.append(Entry(loc, webhook))
    return found


def _enabled(
    reader: Reader, data: Json, loc: Loc, model: type[IncomingWebhook | OutgoingWebhook]
) -> list[tuple[Loc, dict[str, Json]]]:
    if data is None:
        return []
    if not isinstance(data, list):
        reader.findings.add(
            loc, "must be a list of tables", f"write [[{'.'.join(map(str, loc))}]] in TOML, - in YAML"
        )
        return []
    found: list[tuple[Loc, dict[str, Json]]] = []
    for index, item in enumerate(data):
        place = (*loc, index)
        table = reader.table(item, place)
        if table is None:
            continue
        if reader.is_enabled(table):
            found.append((place, table))
        else:
            reader.read_disabled(model, table, place)
    return found


# --- outgoing entries as connectors ---------------------------------------------------------------


def outgoing_connectors(
    reader: Reader, entries: Sequence[Entry], connectors: Mapping[str, ConnectorSettings]
) -> dict[str, tuple[Loc, ConnectorSettings]]:
    """Return one connector for each URL of *entries*, by name: its events are those of all its entries."""
    by_url: dict[str, list[Entry]] = {}
    for entry in entries:
        by_url.setdefault(entry.webhook.url.get_secret_value(), []).append(entry)
    found: dict[str, tuple[Loc, ConnectorSettings]] = {}
    for url, group in by_url.items():
        loc = group[0].loc
        name = next((each.webhook.name for each in group if each.webhook.name), None) or automatic_name(url)
        if name in connectors or name in found:
            reader.findings.add((*loc, "name"), "is the name of another connector", "choose another name")
            continue
        settings = _as_connector(reader, url, group, connectors)
        if settings is not None:
            found[name] = (loc, settings)
    return found


def automatic_name(url: str) -> str:
    """Return the name of the connector for *url* where none is given; the same URL always gets the same."""
    return f"outgoing-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def type_of(url: str, connectors: Mapping[str, ConnectorSettings]) -> str:
    """Return the type of connector that speaks as *url* expects.

    A URL that one of *connectors* uses already belongs to the same service; otherwise host and path tell.
    """
    for settings in connectors.values():
        if settings.type in URL_KEYS and any(secret == url for _, secret in secrets_in(settings)):
            return settings.type
    return service_of(url)


def _as_connector(
    reader: Reader, url: str, group: Sequence[Entry], connectors: Mapping[str, ConnectorSettings]
) -> ConnectorSettings | None:
    loc = group[0].loc
    type_name = next((each.webhook.type for each in group if each.webhook.type), None) or type_of(
        url, connectors
    )
    patterns = tuple(dict.fromkeys(pattern for each in group for pattern in each.webhook.patterns))
    if len(group) > 1 and any(pattern.startswith("!") for pattern in patterns):
        reader.findings.add(
            loc,
            "its URL stands in several entries, one of which excludes events",
            "write one entry with events",
        )
    connector = class_for(reader, type_name, (*loc, "url"))
    if connector is None:
        return None
    secrets = [secret for each in group for secret in (*each.webhook.secret, *each.webhook.secrets)]
    data: dict[str, Json] = {
        "type": type_name,
        "events": list(patterns),
        URL_KEYS[type_name]: group[0].webhook.url,
    }
    if secrets and type_name == "webhook":
        data["secret"] = list(dict.fromkeys(secrets))
    elif secrets:
        reader.findings.warn((*loc, "secret"), f"is not used: {type_name} takes unsigned calls")
    return reader.read(connector.settings_model, data, loc)
