"""The house keeps its order: who may import whom, who may speak SQL, open sockets, look at the clock."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).parents[1] / "ralf_hub"
FILE_LINES_MAX: Final = 350
FUNCTION_LINES_MAX: Final = 60

ROOMS: Final[dict[str, str]] = {
    # From the ground up: a room may import the rooms it names, and may name only rooms above its own line.
    "version": "",
    "model": "",
    "clock": "",
    "texts": "model",
    "secrets": "",
    "limits": "",
    "meters": "",
    "systemd": "clock",
    "verdicts": "",
    "errors": "model",
    "context": "model",
    "otel": "context model version",
    "feed": "model",
    "notices": "clock model texts",
    "signatures": "verdicts",
    "connectors": "clock model notices secrets signatures texts",
    "workspace": "clock model",
    "store": "clock errors model",
    "webhooks": "connectors errors model texts verdicts",
    "config": "connectors errors model secrets signatures verdicts version webhooks",
    "keyring": "clock model secrets store",
    "identity": "clock config connectors errors keyring model",
    "stream": "clock feed keyring model",
    "delivery": "clock config connectors context errors model store version",
    "intake": "clock connectors context delivery errors model store texts webhooks",
    "watcher": "clock config connectors errors intake model store workspace",
    "services": "clock config context delivery errors feed identity intake keyring limits meters model secrets store stream webhooks",
    "endpoint": "clock errors intake keyring model services store",
    "bulk": "clock intake store",
    "upkeep": "bulk errors intake model services store",
    "clock_watch": "clock errors services store",
    "webhook_upkeep": "clock config connectors intake services store upkeep webhooks",
    "admission": "delivery errors identity keyring limits secrets services store",
    "middleware": "admission context endpoint errors intake keyring services texts",
    "table_routes": "endpoint",
    "runner": "clock errors middleware",
    "handlers": "admission clock config connectors delivery endpoint errors intake keyring limits meters middleware model services store stream verdicts version webhooks",
    "app": "*",
    "cli": "*",
    "__main__": "cli",
}
"""Room -> what it may import. `*`: everything below."""

SQL: Final = re.compile(
    r"\b(?:SELECT\s+[\w(*?]|INSERT\s+(?:OR\s+\w+\s+)?INTO\b|UPDATE\s+\w+\s+SET\b|DELETE\s+FROM\b|PRAGMA\s+\w"
    r"|BEGIN\s+IMMEDIATE|SAVEPOINT\s+\w|CREATE\s+(?:TABLE|INDEX|VIEW))"
)

OUTWARD: Final = frozenset(
    {
        *("aiohttp.ClientSession", "aiohttp.TCPConnector", "aiohttp.UnixConnector", "aiohttp.request"),
        *("asyncio.open_connection", "asyncio.open_unix_connection"),
        *("socket.socket", "socket.create_connection", "urllib.request", "http.client", "smtplib", "ftplib"),
        *("requests", "httpx", "slack_sdk", "aiosmtplib", "apprise"),
    }
)
"""What can reach another machine."""

OUTWARD_ALLOWED: Final = {
    "delivery/transport.py": {"aiohttp.ClientSession", "aiohttp.TCPConnector"},
    "cli/top_feed.py": {
        "aiohttp.ClientSession",
        "aiohttp.TCPConnector",
    },  # a client of the hub, in another process
    "delivery/notifier.py": {"apprise"},
    "delivery/smtp.py": {"aiosmtplib", "socket.socket"},
    # It listens: the port is taken before anything else starts, so that one that is in use is told at once.
    "cli/serving.py": {"socket.socket"},
    "systemd.py": {"socket.socket"},  # of the service manager, on this machine
}

AMBIENT: Final = frozenset(
    {
        *("time.time", "time.time_ns", "time.monotonic", "time.perf_counter", "time.sleep"),
        *(
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.date.today",
            "uuid.uuid1",
            "uuid.uuid4",
        ),
        *("random.random", "random.uniform", "random.randint", "random.choice", "random.Random"),
        *(
            "os.urandom",
            "secrets.token_hex",
            "secrets.token_bytes",
            "secrets.token_urlsafe",
            "secrets.choice",
        ),
    }
)
"""Time and chance. They are passed in, so that tests can set them."""

AMBIENT_ALLOWED: Final = {
    "clock.py": {"time.time_ns", "time.monotonic", "random.Random", "secrets.randbits"},
    "app.py": {"random.random"},  # where it is passed in
    # An API key must not be predictable by a clock that somebody else set.
    "keyring.py": {"secrets.token_urlsafe"},
    "store/lanes.py": {"time.perf_counter"},  # how long it has held the loop, which no test should set
    "stream/tickets.py": {"secrets.token_urlsafe"},  # nor a ticket
}


@dataclass(frozen=True)
class Module:
    """One file of the package, parsed."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def room(self) -> str:
        return "version" if self.name == "__init__.py" else self.name.split("/")[0].removesuffix(".py")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name of everything imported, also inside functions."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: write relative imports in full"
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    @cached_property
    def bindings(self) -> dict[str, str]:
        """What names bound by imports mean: `from datetime import datetime as d` -> d: datetime.datetime."""
        found = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    found[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
        return found

    def uses(self) -> Iterator[tuple[int, str]]:
        """Yield the line and the full name of everything imported that the code then touches."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute | ast.Name) and (name := self._full(node)):
                yield node.lineno, name

    def _full(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.bindings.get(node.id)
        if isinstance(node, ast.Attribute) and (base := self._full(node.value)):
            return f"{base}.{node.attr}"
        return None


MODULES: Final = [Module(path, path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]


def room_of(name: str) -> str:
    """Return the room of the full name *name*, such as `ralf_hub.store.tasks`."""
    part = name.split(".")[1] if "." in name else ""
    return "version" if part in {"", "__version__", "__file__"} else part


def allowed(room: str) -> frozenset[str]:
    """Return the rooms that *room* may import."""
    below = list(ROOMS)[: list(ROOMS).index(room)]
    return frozenset(below if ROOMS[room] == "*" else ROOMS[room].split())


def test_the_table_leads_downward_only() -> None:
    for room in ROOMS:
        below = list(ROOMS)[: list(ROOMS).index(room)]
        assert allowed(room) <= set(below), f"{room} names a room that does not stand above its line"


def test_every_room_is_in_the_table_and_exists() -> None:
    assert {module.room for module in MODULES} == set(ROOMS)


def test_imports_go_downward() -> None:
    broken = [
        f"{module.name}:{line} imports {name}; {module.room} may import: {ROOMS[module.room]}"
        for module in MODULES
        for line, name in module.imports()
        if name.split(".")[0] == "ralf_hub"
        and room_of(name) != module.room
        and room_of(name) not in allowed(module.room)
    ]
    assert broken == []


def test_no_room_may_more_than_it_does() -> None:
    used = {(module.room, room_of(name)) for module in MODULES for _, name in module.imports()}
    for room, names in ROOMS.items():
        unused = {other for other in names.split() if other != "*" and (room, other) not in used}
        assert not unused, f"{room} no longer imports {unused}: take it out of the table"


def test_files_stay_short() -> None:
    lines = {module.name: module.text.count("\n") for module in MODULES}
    assert {name: n for name, n in lines.items() if n > FILE_LINES_MAX} == {}


def test_functions_stay_short() -> None:
    lines = {
        f"{module.name}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in lines.items() if n > FUNCTION_LINES_MAX} == {}


def test_sql_is_spoken_in_the_store_only() -> None:
    found = []
    for module in MODULES:
        if module.room == "store":
            continue
        prose = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
        found += [
            f"{module.name}:{node.lineno} {node.value!r}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if SQL.search(node.value)
        ]
    assert found == []


def test_only_the_store_touches_sqlite() -> None:
    """Elsewhere `sqlite3.Connection` may be the type of what is handed on to the store, nothing more."""
    found = [
        f"{module.name}:{line} {name}"
        for module in MODULES
        if module.room != "store"
        for line, name in module.uses()
        if name.split(".")[0] in {"sqlite3", "aiosqlite"} and name not in {"sqlite3", "sqlite3.Connection"}
    ]
    assert found == []


def test_only_the_transport_opens_sockets_outward() -> None:
    found = {}
    for module in MODULES:
        reached = [name for _, name in [*module.uses(), *module.imports()]]
        outward = {name for name in OUTWARD if any(f"{r}.".startswith(f"{name}.") for r in reached)}
        if outward - OUTWARD_ALLOWED.get(module.name, set()):
            found[module.name] = outward
    assert found == {}


def test_time_and_chance_are_passed_in() -> None:
    found = {}
    for module in MODULES:
        ambient = {name for _, name in module.uses()} & AMBIENT
        if ambient - AMBIENT_ALLOWED.get(module.name, set()):
            found[module.name] = ambient
    assert found == {}


def test_the_exceptions_are_still_needed() -> None:
    used = {module.name: {name for _, name in module.uses()} for module in MODULES}
    for exceptions in (OUTWARD_ALLOWED, AMBIENT_ALLOWED):
        for name, needed in exceptions.items():
            assert needed <= used[name], f"{name} no longer needs {needed - used[name]}"


@pytest.mark.parametrize(
    ("text", "outward", "ambient"),
    [
        ("import aiohttp\naiohttp.ClientSession()", {"aiohttp.ClientSession"}, set()),
        ("from aiohttp import ClientSession as S\nS()", {"aiohttp.ClientSession"}, set()),
        (
            "def f():\n    from socket import create_connection as c\n    c(0)",
            {"socket.create_connection"},
            set(),
        ),
        ("from datetime import datetime\ndatetime.now()", set(), {"datetime.datetime.now"}),
        ("import datetime as d\nd.datetime.now()", set(), {"datetime.datetime.now"}),
        ("import time\nclock = time.time", set(), {"time.time"}),
        ("class time: ...\ntime.time()", set(), set()),
    ],
)
def test_the_reader_sees_through_other_names(text: str, outward: set[str], ambient: set[str]) -> None:
    names = {name for _, name in Module(PACKAGE / "somewhere.py", text).uses()}
    assert names & OUTWARD == outward
    assert names & AMBIENT == ambient


@pytest.mark.parametrize("text", ["SELECT * FROM tasks", "INSERT OR IGNORE INTO a", "PRAGMA user_version"])
def test_sql_is_known_when_seen(text: str) -> None:
    assert SQL.search(text)


@pytest.mark.parametrize("text", ["select one of them", "an UPDATE of the settings", "DELETE"])
def test_words_are_not_sql(text: str) -> None:
    assert not SQL.search(text)
