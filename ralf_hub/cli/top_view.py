"""What `top` draws: lines of text for so many columns and rows. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from ralf_hub.cli.output import shown
from ralf_hub.cli.top_feed import Overview
from ralf_hub.model import TASK_STATUSES

WIDE: Final = 72
"""From so many columns on there is room for everything."""
NAME_WIDTH_MAX: Final = 24
KIND_WIDTH: Final = 18
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_TITLE: Final = "bold cyan"
_STYLES: Final = {
    "completed": "green",
    "failed": "red",
    "in_progress": "yellow",
    "working": "green",
    "not working": "bold red",
    "disabled": "bold red",
    "paused": "yellow",
}
_EVENT_STYLES: Final = {
    "task_completed": "green",
    "feature_delivered": "green",
    "connector_resumed": "green",
    "task_failed": "red",
    "system_alert": "red",
    "connector_paused": "yellow",
    "task_blocked": "yellow",
    "task_cancelled": "yellow",
}


def draw(overview: Overview, width: int, height: int) -> list[Text]:
    """Return at most *height* lines, none wider than *width* columns."""
    lines = list(_lines(overview, width, height))[:height]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _lines(overview: Overview, width: int, height: int) -> Iterator[Text]:
    yield from _head(overview)
    if not overview.metrics:
        return
    body = [
        *_tasks(overview.metrics),
        *_deliveries(overview.metrics, width),
        *_connectors(overview.metrics["deliveries"], width),
    ]
    yield from body
    yield from _events("Alerts", overview.alerts, "none among the events that are kept", width)
    rest = height - len(body) - len(overview.alerts) - 8
    yield from _events("Events", list(overview.events)[: max(rest, 3)], "none yet", width)


def _head(overview: Overview) -> Iterator[Text]:
    version = shown(overview.health.get("version"))
    yield Text.assemble(("ralf-hub", "bold"), f" {version} " if version else " ", (overview.url, "dim"))
    if overview.away is not None:
        yield Text(f"● away: {shown(overview.away)}; trying again", "bold red")
        if overview.metrics:
            yield Text("  what follows is what was known last", "dim")
        return
    if overview.health.get("status") == "ok":
        up = span(overview.metrics["process"]["uptime_s"])
        yield Text.assemble(("● ok", "bold green"), (f"  up {up}", "dim"))
    else:
        yield Text("● failing", "bold red")
    for name, told in overview.health.get("checks", {}).items():
        if told != "ok":
            yield Text(f"  {shown(name)}: {shown(told)}", "red")


def _title(text: str, more: str = "") -> Text:
    return Text.assemble((text, _TITLE), (f"  {more}" if more else "", "dim"))


def _tasks(metrics: Mapping[str, Any]) -> Iterator[Text]:
    queue, by_status = metrics["queue"], metrics["tasks"]["by_status"]
    oldest = queue["oldest_pending_age_s"]
    yield Text()
    waiting = f"queue {queue['depth']}"
    yield _title("Tasks", waiting if oldest is None else f"{waiting}, the oldest waits {span(oldest)}")
    line = Text("  ")
    for status in TASK_STATUSES:
        line.append(f"{by_status[status]} ", "bold")
        line.append(f"{status.replace('_', ' ')}   ", _STYLES.get(status, "") if by_status[status] else "dim")
    yield line


def _deliveries(metrics: Mapping[str, Any], width: int) -> Iterator[Text]:
    minutes: Sequence[int] = metrics["delivered_per_minute"]
    p95 = max((numbers["p95_ms"] or 0 for numbers in metrics["deliveries"].values()), default=0)
    yield Text()
    yield _title(
        "Delivered", f"{minutes[-1]} this minute, {sum(minutes)} in {len(minutes)} minutes, p95 {p95:.0f} ms"
    )
    yield Text(f"  {bars(minutes[-max(width - 2, 1) :])}", "green")


def bars(counts: Sequence[int]) -> str:
    """Return one block for each count; nothing is the lowest, anything at all is higher."""
    most = max(counts, default=0)
    return "".join(_BLOCKS[0 if n == 0 else max(1, round(n / most * (len(_BLOCKS) - 1)))] for n in counts)


def _connectors(found: Mapping[str, Mapping[str, Any]], width: int) -> Iterator[Text]:
    yield Text()
    enabled = {name: numbers for name, numbers in found.items() if numbers["breaker"] is not None}
    if not enabled:
        yield _title("Connectors", "none is enabled")
        return
    names = min(max(map(len, enabled)), NAME_WIDTH_MAX)
    wide = width >= WIDE
    yield Text.assemble(
        ("Connectors".ljust(names + 2), _TITLE),
        (f" {'state':<12}{'pending':>8}{'oldest':>9}" + (f"{'dead':>7}{'p95 ms':>9}" if wide else ""), "dim"),
    )
    for name, numbers in enabled.items():
        state = connector_state(numbers)
        oldest = numbers["oldest_pending_age_s"]
        line = Text(f"  {shown(name)[:names]:<{names}} ")
        line.append(f"{state:<12}", _STYLES[state])
        line.append(f"{numbers['pending']:>8}{'-' if oldest is None else span(oldest):>9}")
        if wide:
            line.append(f"{numbers['dead']:>7}", "red" if numbers["dead"] else "")
            line.append(f"{'-' if numbers['p95_ms'] is None else format(numbers['p95_ms'], '.0f'):>9}")
        yield line


def connector_state(numbers: Mapping[str, Any]) -> str:
    """Return how a connector stands, in the dashboard's words."""
    if numbers["paused"]:
        return "paused"
    return {"closed": "working", "open": "not working", "disabled": "disabled"}[numbers["breaker"]]


def _events(title: str, found: Sequence[Mapping[str, Any]], none: str, width: int) -> Iterator[Text]:
    yield Text()
    yield _title(title, "" if found else none)
    for event in found:
        at = event["occurred_at"][11:19] if width < WIDE else event["occurred_at"][:19].replace("T", " ")
        data = event["data"]
        gist = next(
            (data[name] for name in ("message", "title", "text", "error", "note") if data.get(name)), ""
        )
        line = Text.assemble((f"  {at} ", "dim"))
        kind = shown(event["type"])
        line.append(
            f"{kind if width < WIDE else kind.ljust(KIND_WIDTH)} ", _EVENT_STYLES.get(event["type"], "cyan")
        )
        line.append(f"{shown(event['task_id'])} " if event["task_id"] else "")
        line.append(shown(gist))
        yield line


def span(seconds: float) -> str:
    """Return a duration as people say it: its two largest units."""
    parts: list[str] = []
    left = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        n, left = divmod(left, size)
        if n or (unit == "s" and not parts):
            parts.append(f"{n}{unit}")
    return " ".join(parts[:2])
