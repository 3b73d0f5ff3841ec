"""What an event loop leaves behind that ends with consumers on it, in whatever way it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import running

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "streams": "channels_redis.core.RedisChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.mark.parametrize("end", ["run", "close", "leave"])
@pytest.mark.parametrize("layer", LAYERS)
def test_nothing_is_left_behind(broker, layer, end):
    """No task to be destroyed, no error of one that ends too late, no crash of the interpreter.

    And where the loop lets its tasks end, ``disconnect()`` finds the layer at work.
    """
    port = "none" if layer == "memory" else str(broker.port)
    run = subprocess.run(
        [sys.executable, "-m", "tests.integration.loop_ends", LAYERS[layer], port, end],
        cwd=ROOT, timeout=60, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split() == (["left", "end"] if end == "run" else ["end"])
