"""Bars as SVG: drawn by hand, since a chart library would be larger than what it draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 960
LABELS: Final = 410
RIGHT: Final = 150
ROW: Final = 26
TOP: Final = 48
_STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:15px}.v{font-size:12px}"
    ".b{fill:#5b8def}.m{fill:#d9822b}.w{stroke:#24292f;stroke-width:1.5}.a{stroke:#2e8b57;stroke-width:2;"
    "stroke-dasharray:5 3}.g{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.w{stroke:#e6edf3}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its spread; *said* stands beside it, *weak* colours one that misses its aim."""

    label: str
    value: float
    low: float
    high: float
    said: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a value lies: linear from 0, or logarithmic from *least*."""

    least: float
    most: float
    logarithmic: bool

    def x(self, value: float) -> float:
        """Return the place of *value* in pixels; what is beyond the ends lies at the ends."""
        value = min(max(value, self.least), self.most)
        if self.logarithmic:
            share = math.log(value / self.least) / math.log(self.most / self.least)
        else:
            share = (value - self.least) / (self.most - self.least)
        return LABELS + share * (WIDTH - LABELS - RIGHT)


def scale(bars: Sequence[Bar], *, logarithmic: bool) -> Scale:
    """Return a scale on which all of *bars* have room."""
    most = max(bar.high for bar in bars) * 1.02
    if not logarithmic:
        return Scale(0.0, most, logarithmic=False)
    return Scale(min(0.5, *(bar.low for bar in bars)), max(2.0, most), logarithmic=True)


def bars(title: str, given: Sequence[Bar], *, logarithmic: bool = False, line_at: float | None = None) -> str:
    """Return a picture of *given*, one bar below the other, with a dashed line at *line_at*."""
    along = scale(given, logarithmic=logarithmic)
    height = TOP + ROW * len(given) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="t" x="8" y="24">{escape(title)}</text>',
    ]
    if line_at is not None:
        x = along.x(line_at)
        parts.append(f'<line class="a" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 10}"/>')
    for number, bar in enumerate(given):
        y = TOP + ROW * number
        middle, end = y + ROW / 2 - 2, along.x(bar.value)
        low, high = along.x(bar.low), along.x(bar.high)
        parts += [
            f'<text x="{LABELS - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{"m" if bar.weak else "b"}" x="{LABELS}" y="{y + 3}" width="{max(1.0, end - LABELS):.1f}" height="{ROW - 10}" rx="2"/>',
            f'<line class="w" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>',
            f'<text class="v" x="{max(end, high) + 6:.1f}" y="{middle + 4:.1f}">{escape(bar.said)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
