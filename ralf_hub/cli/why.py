"""`why`: why a delivery is where it is, when it goes next, and what was tried so far."""

from pathlib import Path
from typing import TYPE_CHECKING

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, Config, Db
from ralf_hub.cli.outbox import DeliveryId, attempts_table, known

if TYPE_CHECKING:
    from ralf_hub.config import Settings


def why(delivery_id: DeliveryId, config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Say why a delivery is where it is and when it goes next, with what was tried."""
    from ralf_hub.cli.output import print_json, say, shown
    from ralf_hub.clock import Clock
    from ralf_hub.delivery.explain import Circumstances, explain
    from ralf_hub.store import connectors, outbox
    from ralf_hub.store.beside import beside, snapshot

    settings, names = _settings(config, db)
    with beside(settings.database.path) as conn, snapshot(conn):
        delivery = known(conn, delivery_id)
        attempts = outbox.attempts_of(conn, delivery_id)
        around = Circumstances(
            state=connectors.get(conn, delivery.connector),
            known=names is None or delivery.connector in names,
            ahead=outbox.ahead_in_lane(conn, delivery),
            now=Clock().iso(),
            max_attempts=settings.delivery.max_attempts,
        )
    words = explain(delivery, around)
    if as_json:
        from ralf_hub.handlers.deliveries import attempt_json, delivery_json

        tries = [attempt_json(attempt) for attempt in attempts]
        print_json({**delivery_json(delivery), "attempts": tries, "explain": words})
        return
    about = f" about {shown(delivery.task_id)}" if delivery.task_id else ""
    say(f"Delivery {delivery.id}: {delivery.event_type}{about} to {delivery.connector} ({delivery.action})")
    say(shown(words))
    attempts_table(attempts)


def _settings(config: Path | None, db: Path | None) -> "tuple[Settings, set[str] | None]":
    """Return the settings and the names of the connectors that are on; None where they cannot be read here."""
    from ralf_hub.errors import SettingsError

    try:
        settings = common.settings(config, db).settings
    except SettingsError:
        return common.database_settings(config, db).settings, None
    return settings, {name for name, section in settings.connectors.items() if section.enabled}
