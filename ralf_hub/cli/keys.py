"""`keys create | list | revoke | rotate`: who may call the API. A running hub takes a change over within a second."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ralf_hub.cli import common
from ralf_hub.cli.common import AsJson, CommandError, Config, Db

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from ralf_hub.store.keys import ApiKey

NAME_LENGTH_MAX = 200
KEYS = "`ralf-hub keys list` shows which there are"

KeyId = Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.", metavar="ID")]


def create(
    name: Annotated[str, typer.Option(help="Whose key it is.")],
    scopes: Annotated[str, typer.Option(help="What it may do, separated by commas; `*` is all.")],
    expires: Annotated[
        str | None,
        typer.Option(
            parser=common.moment_ahead, metavar="TIME", help="When it ends: a time, or 30d from now."
        ),
    ] = None,
    oauth: Annotated[
        bool, typer.Option("--oauth", help="Make an OAuth client: the key is its secret for /oauth/token.")
    ] = False,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key, or an OAuth client, and print the key, this once."""
    from ralf_hub.clock import Clock
    from ralf_hub.keyring import new_key
    from ralf_hub.store import keys
    from ralf_hub.store.beside import beside, write

    granted = _scopes(scopes)
    kind: Literal["api", "oauth"] = "oauth" if oauth else "api"
    key, stored = new_key(Clock(), _name(name), granted, expires_at=expires, kind=kind)
    path = _database(config, db)
    common.tell_if_new(path)
    with beside(path, writer=True, create=True) as conn:
        write(conn, lambda conn: keys.insert(conn, stored))
    _show_once(stored, key, as_json=as_json)


def list_(config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """Show every key of the database, ended ones too; keys in the settings are not among them."""
    from ralf_hub.cli.output import print_json, table
    from ralf_hub.clock import Clock
    from ralf_hub.store import keys
    from ralf_hub.store.beside import beside

    with beside(_database(config, db)) as conn:
        found = keys.everyone(conn)
    if as_json:
        from ralf_hub.handlers.keys import key_json

        print_json({"keys": [key_json(key) for key in found], "total": len(found)})
        return
    now = Clock().iso()
    rows = [
        (
            key.id,
            key.name,
            key.kind,
            f"{key.hint}...",
            " ".join(key.scopes),
            key.created_at,
            key.last_used_at,
            _state(key, now),
        )
        for key in found
    ]
    table(("ID", "NAME", "KIND", "KEY", "SCOPES", "CREATED", "LAST USED", "STATE"), rows)


def revoke(key_id: KeyId, config: Config = None, db: Db = None, as_json: AsJson = False) -> None:
    """End a key."""
    from ralf_hub.cli.output import print_json, say
    from ralf_hub.clock import Clock
    from ralf_hub.store import keys
    from ralf_hub.store.beside import beside, write

    now = Clock().iso()

    def change(conn: "sqlite3.Connection") -> bool:
        _known(conn, key_id)
        return keys.revoke(conn, key_id, now=now)

    with beside(_database(config, db), writer=True) as conn:
        ended = write(conn, change)
        key = _known(conn, key_id)
    if as_json:
        print_json({"id": key.id, "name": key.name, "revoked_at": key.revoked_at})
    else:
        say(f"{key.id} ({key.name}) is revoked" if ended else f"{key.id} ({key.name}) was revoked already")


def rotate(
    key_id: KeyId,
    overlap: Annotated[int, typer.Option(min=0, max=31_536_000, help="Seconds the old key still works.")] = 0,
    config: Config = None,
    db: Db = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key with name, scopes and lifetime of an old one, and end the old one."""
    from ralf_hub.clock import MS_PER_S, Clock, iso, parse_iso
    from ralf_hub.keyring import new_key
    from ralf_hub.store import keys
    from ralf_hub.store.beside import beside, write

    clock = Clock()
    now = clock.iso()

    def change(conn: "sqlite3.Connection") -> "tuple[str, ApiKey]":
        old = _known(conn, key_id)
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise CommandError(f"the key {key_id} has ended; make a new one: ralf-hub keys create")
        lifetime = None if old.expires_at is None else parse_iso(old.expires_at) - parse_iso(old.created_at)
        ends = None if lifetime is None else iso(clock.now() + lifetime)
        key, stored = new_key(clock, old.name, old.scopes, expires_at=ends, kind=old.kind)
        keys.insert(conn, stored)
        if overlap:
            keys.expire(conn, key_id, at=iso(clock.now() + overlap * MS_PER_S))
        else:
            keys.revoke(conn, key_id, now=now)
        return key, stored

    with beside(_database(config, db), writer=True) as conn:
        key, stored = write(conn, change)
    _show_once(stored, key, as_json=as_json, replaces=key_id)


# --- parts ----------------------------------------------------------------------------------------


def _database(config: "Path | None", db: "Path | None") -> "Path":
    return common.database_settings(config, db).settings.database.path


def _known(conn: "sqlite3.Connection", key_id: str) -> "ApiKey":
    from ralf_hub.store import keys

    found = keys.get(conn, key_id)
    if found is None:
        raise CommandError(f"there is no key {key_id[:100]}; {KEYS}")
    return found


def _name(text: str) -> str:
    if not text.strip() or len(text) > NAME_LENGTH_MAX or not text.isprintable():
        raise typer.BadParameter(
            f"a name is printable text of 1 to {NAME_LENGTH_MAX} characters", param_hint="--name"
        )
    return text.strip()


def _scopes(text: str) -> tuple[str, ...]:
    from ralf_hub.config.patterns import nearest
    from ralf_hub.model import ALL_SCOPES, SCOPES

    given = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for scope in given:
        if scope not in {*SCOPES, ALL_SCOPES}:
            near = nearest(scope, SCOPES)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(SCOPES)} and *"
            raise typer.BadParameter(f"there is no scope {scope}; {hint}", param_hint="--scopes")
    if not given:
        raise typer.BadParameter(f"name at least one of {', '.join(SCOPES)} or *", param_hint="--scopes")
    return given


def _state(key: "ApiKey", now: str) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at}"
    if key.expires_at is not None:
        return f"expired {key.expires_at}" if key.expires_at <= now else f"until {key.expires_at}"
    return "valid"


def _show_once(stored: "ApiKey", key: str, *, as_json: bool, replaces: str | None = None) -> None:
    from ralf_hub.cli.output import note, print_json, say

    if as_json:
        shown: dict[str, Any] = {
            "id": stored.id,
            "name": stored.name,
            "key": key,
            "scopes": list(stored.scopes),
        }
        if stored.kind == "oauth":
            shown |= {"client_id": stored.id, "client_secret": key}
        print_json(shown if replaces is None else {**shown, "replaces": replaces})
        return
    say(key)
    what = "key"
    if stored.kind == "oauth":
        note(f"client_id {stored.id}; its secret, above, is good for /oauth/token only")
        what = "secret"
    note(f"{stored.id} ({stored.name}) may {' '.join(stored.scopes)}; the {what} is shown this once")
