"""The chart: the same rows as the table, drawn as SVG by hand."""

from html import escape
from itertools import groupby

from .contenders import CONTENDERS
from .report import Row, figure
from .scenarios import SCENARIOS

__all__ = ["svg"]

COLOURS = {
    "checkout": "#0c7c59",
    "checkout-sync": "#0a5c43",
    "checkout-pubsub": "#66b29b",
    "channels-4": "#d1495b",
    "channels-4-pubsub": "#e9a4ad",
    "starlette": "#edae49",
    "asgi": "#8d99ae",
}
METRICS = {
    "cpu": "server CPU, ms per 1,000",
    "time": "time, ms per 1,000",
    "memory": "memory, KiB each",
}
LEFT, WIDTH, RIGHT = 160, 360, 190  # names, bars, figures; in pixels, like all below
STEP, BAR, HEADING, SPACE = 18, 15, 24, 14
STYLE = "text { font: 12px system-ui, sans-serif; fill: #333 } .title { font-weight: 600 }"


def svg(rows: list[Row]) -> str:
    """A group of bars per scenario; the longest bar of each group is the dearest contender's.

    The background is white, not transparent, so that it can be read on dark pages too.
    """
    parts, y = [], 16
    for scenario, members in groupby(rows, key=lambda row: row.scenario):
        group, height = _group(scenario, list(members), y)
        parts += group
        y += height
    total = LEFT + WIDTH + RIGHT
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y}" role="img">',
        f"<title>What it costs: shorter is better</title><style>{STYLE}</style>",
        f'<rect width="{total}" height="{y}" rx="8" fill="#fff"/>',
    ]
    return "\n".join([*head, *parts, "</svg>\n"])


def _group(scenario: str, rows: list[Row], top: int) -> tuple[list[str], int]:
    title = escape(f"{SCENARIOS[scenario].title}: {METRICS[SCENARIOS[scenario].metric]}")
    parts = [f'<text x="16" y="{top + 14}" class="title">{title}</text>']
    dearest = max(row.score for row in rows)
    for number, row in enumerate(rows):
        y = top + HEADING + STEP * number
        parts += _bar(row, max(1, round(WIDTH * row.score / dearest)), y)
    return parts, HEADING + STEP * len(rows) + SPACE


def _bar(row: Row, length: int, y: int) -> list[str]:
    name = escape(CONTENDERS[row.contender].title)
    label = figure(row.score)
    if CONTENDERS[row.contender].environment == "checkout" and "channels-4" in row.ratios:
        label += f" ({figure(row.ratios['channels-4'])} of {CONTENDERS['channels-4'].title})"
    box = f'x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="2"'
    return [
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{name}</text>',
        f'<rect {box} fill="{COLOURS[row.contender]}"/>',
        f'<text x="{LEFT + length + 6}" y="{y + 12}">{escape(label)}</text>',
    ]
