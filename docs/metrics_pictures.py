"""Draws the pictures of docs/howto/prometheus.md: ``python docs/metrics_pictures.py``.

Grafana is not needed. Real clients talk to a real server for a while, a real Prometheus reads its
metrics, and the panels of the dashboard that have data are drawn from what that Prometheus answers
to their expressions. The page of its alerts is a picture of its own web page, by Chromium.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import websockets

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "src" / "channels" / "contrib" / "prometheus"
STATIC = ROOT / "docs" / "_static"
SITE, PROMETHEUS = 28471, 28472
SECONDS = 40
WIDTH, HEIGHT, COLUMNS = 380, 190, 3
COLOURS = ("#2a7f62", "#c8553d", "#3d5a99", "#b08900", "#7a4f9a")


async def traffic(seconds: float) -> None:
    """Clients that come, talk and go, and some that make a handler raise."""

    async def client(number: int) -> None:
        end = time.monotonic() + seconds * (0.4 + 0.06 * (number % 10))
        await asyncio.sleep(number % 10)
        async with websockets.connect(f"ws://127.0.0.1:{SITE}/") as connection:
            while time.monotonic() < end:
                await connection.send("hello")
                await connection.recv()
                await asyncio.sleep(0.02 * (1 + number % 5))
            if number % 4 == 0:
                await connection.send("crash")
                await asyncio.sleep(0.5)

    await asyncio.gather(*map(client, range(60)))


def wait_for(port: int) -> None:
    """Wait until something listens on ``port``."""
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def ask(path: str, **arguments: object) -> dict:
    with urlopen(f"http://127.0.0.1:{PROMETHEUS}/api/v1/{path}?{urlencode(arguments)}") as answer:
        return json.load(answer)["data"]


def panel(title: str, series: list[dict], unit: str, x: int, y: int) -> str:
    """One panel, with a line for each series."""
    points = [[(float(t), float(v)) for t, v in each["values"] if v != "NaN"] for each in series]
    all_points = [point for line in points for point in line]
    first, last = min(t for t, _ in all_points), max(t for t, _ in all_points)
    top = max(v for _, v in all_points) or 1
    left, below, wide, high = x + 12, y + HEIGHT - 48, WIDTH - 24, HEIGHT - 84
    parts = [
        f'<rect x="{x}" y="{y}" width="{WIDTH - 8}" height="{HEIGHT - 8}" class="panel"/>',
        f'<text x="{left}" y="{y + 20}" class="title">{escape(title)}</text>',
        f'<text x="{x + WIDTH - 20}" y="{y + 20}" class="top">max {top:.3g} {unit}</text>',
        f'<line x1="{left}" x2="{left + wide - 8}" y1="{below}" y2="{below}" class="axis"/>',
    ]
    for index, line in enumerate(points):
        at = " ".join(
            f"{left + (t - first) / ((last - first) or 1) * (wide - 8):.1f},{below - v / top * high:.1f}"  # noqa: E501
            for t, v in line
        )
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if index < 2:
            name = " ".join(series[index]["metric"].values()).replace(
                "tests.integration.metrics_site.", ""
            )
            place = f'x="{left}" y="{below + 16 + 14 * index}" fill="{colour}"'
            parts.append(f'<text {place} class="legend">{escape(name)}</text>')
    return "\n".join(parts)


def draw(started: float, ended: float) -> str:
    drawn = []
    for each in json.loads((FILES / "grafana.json").read_text("utf-8"))["panels"]:
        expression = each["targets"][0]["expr"].replace("$__rate_interval", "10s")
        found = ask("query_range", query=expression, start=started, end=ended, step=1)["result"]
        found = [one for one in found if any(v != "NaN" for _, v in one["values"])]
        if found:
            column, row = len(drawn) % COLUMNS, len(drawn) // COLUMNS
            unit = each["fieldConfig"]["defaults"]["unit"].replace("short", "")
            drawn.append(panel(each["title"], found, unit, 8 + column * WIDTH, 8 + row * HEIGHT))
    rows = -(-len(drawn) // COLUMNS)
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:600}.top{text-anchor:end;fill:#888;font-size:10px}"  # noqa: E501
        ".legend{font-size:10px}.panel{fill:#fff;stroke:#ddd}.axis{stroke:#ccc}"
    )
    size = f'width="{COLUMNS * WIDTH + 8}" height="{rows * HEIGHT + 8}"'
    body = "\n".join(drawn)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style><rect {size} fill="#f4f4f4"/>{body}</svg>\n'  # noqa: E501


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "metrics").mkdir()
        shutil.copy(FILES / "alerts.yml", folder)  # its path is in the picture
        scrape = {"job_name": "channels", "static_configs": [{"targets": [f"127.0.0.1:{SITE}"]}]}
        scrape["authorization"] = {"credentials": "the-token"}
        interval = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {
            "global": interval,
            "rule_files": ["alerts.yml"],
            "scrape_configs": [scrape],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config), "utf-8")
        variables = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}
        uvicorn = [sys.executable, "-m", "uvicorn", "tests.integration.metrics_site:application"]
        uvicorn += ["--workers", "2", "--port", str(SITE), "--log-level", "critical"]
        prometheus = [
            "prometheus",
            "--config.file=prometheus.yml",
            "--log.level=error",
        ]
        prometheus += [
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{PROMETHEUS}",
        ]
        running = [
            subprocess.Popen(uvicorn, cwd=ROOT, env=variables),
            subprocess.Popen(prometheus, cwd=folder),
        ]
        try:
            for port in (SITE, PROMETHEUS):
                wait_for(port)
            started = time.time()
            asyncio.run(traffic(SECONDS))
            time.sleep(3)
            (STATIC / "metrics-dashboard.svg").write_text(draw(started, time.time()), "utf-8")
            shot = STATIC / "metrics-alerts.png"
            chromium = [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                "--window-size=1200,760",
            ]
            chromium += ["--virtual-time-budget=8000", f"--screenshot={shot}"]
            subprocess.run([*chromium, f"http://127.0.0.1:{PROMETHEUS}/classic/alerts"], check=True)
        finally:
            for process in running:
                process.terminate()
                process.wait(30)


if __name__ == "__main__":
    main()
