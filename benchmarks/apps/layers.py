"""The channel layer of a benchmark: in memory, or what the environment says."""

import json
import os

__all__ = ["LAYERS", "MESSAGE"]

LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if url := os.environ.get("BENCHMARK_REDIS"):
    LAYERS = {"default": {"BACKEND": os.environ["BENCHMARK_LAYER"], "CONFIG": {"hosts": [url]}}}
elif config := os.environ.get("BENCHMARK_CHANNEL_LAYER"):
    LAYERS = {"default": json.loads(config)}

MESSAGE = {"type": "chat.message", "text": "x" * 64}
