"""What commands print: JSON for programs, tables and bars for people. rich is imported only where it draws."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ralf_hub.texts import clean, one_line

WIDE: Final = 10_000
"""The width of a table that goes to a file or a pipe: nothing in it is cut or wrapped."""

GREEN, YELLOW, RED, CYAN, DIM = "32", "33", "31", "36", "2"


def say(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Print a line beside the result: on standard error."""
    sys.stderr.write(text + "\n")


def print_json(value: Any) -> None:
    """Print one JSON document."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def print_json_line(value: Any) -> None:
    """Print *value* as one line of JSON, at once."""
    say(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    sys.stdout.flush()


def takes_colour() -> bool:
    """Return whether standard output shows colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    """Return *text* in *colour* where colours are shown."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and takes_colour() else text


def shown(value: object) -> str:
    """Return *value* as one clean line; text from outside must not steer the terminal."""
    return "" if value is None else one_line(str(value))


def print_body(value: Any, indent: str = "") -> None:
    """Print a payload for people: JSON over several lines, or text, without anything that steers the terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    for line in text.splitlines():
        say(indent + clean(line))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print *rows* below *columns*; a column that begins with `>` is set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        width=None if sys.stdout.isatty() else WIDE,
        highlight=False,
        no_color=not takes_colour(),
        markup=False,
    )
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        drawn.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    with console.capture() as captured:
        console.print(drawn)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


@contextlib.contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show a bar on a terminal while something long runs; yields `advance_to(done, what)`. Elsewhere it is silent."""
    if not sys.stderr.isatty():
        yield lambda _done, _what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%" if total else "{task.completed:,}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done, what: bar.update(task, completed=done, description=what or label)


def confirmed(question: str, *, yes: bool) -> bool:
    """Return whether to go on: with `--yes`, or where someone at a terminal says so."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
