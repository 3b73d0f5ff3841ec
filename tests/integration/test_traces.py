"""One trace over real processes: a request, consumers of two servers, a worker and a task."""

import json
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect

from tests.brokers import running
from tests.processes import ServerProcess

from .test_prometheus import wait_for

ROOT = Path(__file__).parents[2]
TRACE = "0af7651916cd43dd8448eb211c80319c"

pytestmark = pytest.mark.server

UVICORN = ["-m", "uvicorn", "tests.integration.traced_site:application", "--port", "{port}"]
PARTS = {
    "front": [*UVICORN, "--log-level", "warning"],
    "back": [*UVICORN, "--log-level", "warning"],
    "other": [*UVICORN, "--log-level", "warning"],
    "worker": ["-m", "django", "runworker", "translations", "--health-port", "{port}"],
    "tasks": ["-m", "django", "runtasks", "--health-port", "{port}"],
}


class Spans(list):
    """What all processes have written of one trace: each span with the part of its process."""

    def __init__(self, folder):
        for path in sorted(folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                span = json.loads(line)
                if span["context"]["trace_id"] == f"0x{TRACE}":
                    self.append(span | {"part": path.name.partition(".")[0]})

    def named(self, name):
        return [span for span in self if span["name"] == name]

    def one(self, name):
        (found,) = self.named(name)
        return found


@pytest.fixture
def site(tmp_path):
    """The ports of the servers, and the folder of the spans."""
    with ExitStack() as stack:
        broker = stack.enter_context(running())
        started = {}
        for part, command in PARTS.items():
            env = {
                "DJANGO_SETTINGS_MODULE": "tests.integration.traced_settings",
                "TRACED_BROKER": broker.url,
                "TRACED_FOLDER": str(tmp_path),
                "TRACED_PART": part,
                "PYTHONPATH": str(ROOT),
            }
            process = ServerProcess(command, cwd=ROOT, log=tmp_path / f"{part}.log", env=env)
            started[part] = stack.enter_context(process)
        yield started, tmp_path


def test_one_trace_from_a_request_to_consumers_a_worker_and_a_task(site):
    processes, folder = site
    with (
        connect(f"{processes['back'].ws_url}/async/") as back,
        connect(f"{processes['other'].ws_url}/sync/") as other,
    ):
        request = Request(f"{processes['front'].origin}/say/hello")
        request.add_header("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")
        with urlopen(request, timeout=30) as answer:
            assert answer.read() == b"said"
        for client in (back, other):
            assert {client.recv(30) for _ in range(3)} == {"hello", "HELLO", "5"}

    def complete():
        return len(Spans(folder)) >= 14 and Spans(folder)

    spans = wait_for(complete)
    assert len(spans) == 14
    parts = {(span["part"], span["name"]) for span in spans}
    request = spans.one("GET /say/hello")
    assert request["parent_id"] == "0xb7ad6b7169203331"
    sent = ["group_send chat.message", "send translate"]
    (enqueued,) = [span for span in spans if span["name"].startswith("enqueue ")]
    for span in [*map(spans.one, sent), enqueued]:
        assert span["part"] == "front"
        assert span["parent_id"] == request["context"]["span_id"]
    translated = spans.one("Translator translate")
    assert translated["part"] == "worker"
    assert translated["parent_id"] == spans.one("send translate")["context"]["span_id"]
    (ran,) = [span for span in spans if span["name"].startswith("task ")]
    assert ran["part"] == "tasks"
    assert ran["parent_id"] == enqueued["context"]["span_id"]
    for kind, above in [("chat.translated", translated), ("chat.counted", ran)]:
        assert spans.one(f"group_send {kind}")["parent_id"] == above["context"]["span_id"]
    for kind in ("chat.message", "chat.translated", "chat.counted"):
        sender = spans.one(f"group_send {kind}")["context"]["span_id"]
        for name, part in (("Chat", "back"), ("SyncChat", "other")):
            assert (part, f"{name} {kind}") in parts
            assert spans.one(f"{name} {kind}")["parent_id"] == sender
