"""Draws the picture of docs/howto/opentelemetry.md: ``python docs/trace_picture.py``.

The processes of tests/integration/test_traces.py run on a real broker; what is drawn are the spans
that they have written of one request.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from html import escape
from pathlib import Path
from urllib.request import Request, urlopen

from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.brokers import running  # noqa: E402
from tests.integration.test_traces import PARTS, TRACE, Spans  # noqa: E402
from tests.processes import ServerProcess  # noqa: E402

PICTURE = ROOT / "docs" / "_static" / "trace.svg"
PARENT = "b7ad6b7169203331"
COLOURS = dict(zip(PARTS, ("#3d5a99", "#2a7f62", "#b08900", "#c8553d", "#7a4f9a"), strict=True))
TITLES = {
    "front": "server with the view",
    "back": "server, async consumer",
    "other": "server, sync consumer",
    "worker": "runworker",
    "tasks": "runtasks",
}
LEFT, WIDTH, LINE, TOP = 330, 860, 24, 54


def record() -> list[dict]:
    """The spans of one request, after one that has warmed everything up."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(running())
        started = {}
        for part, command in PARTS.items():
            env = {
                "DJANGO_SETTINGS_MODULE": "tests.integration.traced_settings",
                "TRACED_BROKER": broker.url,
                "TRACED_FOLDER": str(folder),
                "TRACED_PART": part,
                "PYTHONPATH": str(ROOT),
            }
            process = ServerProcess(command, cwd=ROOT, log=folder / f"{part}.log", env=env)
            started[part] = stack.enter_context(process)
        clients = [
            stack.enter_context(connect(f"{started[part].ws_url}/{path}/"))
            for part, path in (("back", "async"), ("other", "sync"))
        ]
        for trace in ("1" * 32, TRACE):
            request = Request(f"{started['front'].origin}/say/hello")
            request.add_header("traceparent", f"00-{trace}-{PARENT}-01")
            urlopen(request).read()
            for client in clients:
                for _ in range(3):
                    client.recv(30)
        deadline = time.monotonic() + 30
        while len(spans := Spans(folder)) < 14 and time.monotonic() < deadline:
            time.sleep(0.1)
        return spans


def times(span: dict) -> tuple[float, float]:
    """When a span began and ended, in milliseconds."""
    return tuple(
        datetime.fromisoformat(span[f"{name}_time"]).timestamp() * 1000 for name in ("start", "end")
    )


def in_order(spans: list[dict], parent: str, depth: int = 0) -> list[tuple[int, dict]]:
    """The tree of the spans, each with its depth."""
    found = []
    children = [span for span in spans if span["parent_id"] == f"0x{parent}"]
    for span in sorted(children, key=times):
        found += [(depth, span)]
        found += in_order(spans, span["context"]["span_id"].removeprefix("0x"), depth + 1)
    return found


def draw(spans: list[dict]) -> str:
    rows = in_order(spans, PARENT)
    first, last = min(times(s)[0] for s in spans), max(times(s)[1] for s in spans)
    scale, parts, x = (WIDTH - LEFT - 70) / (last - first), [], 10
    for part, title in TITLES.items():
        parts.append(f'<rect x="{x}" y="12" width="12" height="12" fill="{COLOURS[part]}"/>')
        parts.append(f'<text x="{x + 17}" y="22">{title}</text>')
        x += 34 + 7 * len(title)
    for number, (depth, span) in enumerate(rows):
        began, ended = times(span)
        y, colour = TOP + number * LINE, COLOURS[span["part"]]
        left, wide = LEFT + (began - first) * scale, max((ended - began) * scale, 2)
        name = span["name"].replace("tests.integration.traced_site.", "")
        parts.append(f'<text x="{10 + 16 * depth}" y="{y}">{escape(name)}</text>')
        bar = f'x="{left:.1f}" y="{y - 11}" width="{wide:.1f}" height="14" fill="{colour}"'
        parts.append(f'<rect {bar} rx="2"/>')
        parts.append(
            f'<text x="{left + wide + 5:.1f}" y="{y}" class="t">{ended - began:.2f} ms</text>'
        )
    size = f'width="{WIDTH}" height="{TOP + len(rows) * LINE}"'
    style = "text{font:12px sans-serif;fill:#333}.t{font-size:10px;fill:#777}"
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>'
        f'<rect {size} fill="#fff"/>\n{body}</svg>\n'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(record()), "utf-8")
