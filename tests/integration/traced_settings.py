"""Settings of a project whose processes write their spans into files, one for each process."""

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

SECRET_KEY = "not-a-secret"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DATABASES = {}
INSTALLED_APPS = ["channels", "channels.contrib.opentelemetry", "channels.contrib.tasks"]
ROOT_URLCONF = "tests.integration.traced_site"
ASGI_APPLICATION = "tests.integration.traced_site.application"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels.layers.redis.RedisChannelLayer",
        "CONFIG": {"hosts": [os.environ["TRACED_BROKER"]]},
    }
}
TASKS = {"default": {"BACKEND": "channels.contrib.tasks.ChannelsBackend"}}


class Files(SpanExporter):
    """Appends each span to a file that is named after the process and its part."""

    def __init__(self):
        name = f"{os.environ['TRACED_PART']}.{os.getpid()}.jsonl"
        self._path = Path(os.environ["TRACED_FOLDER"], name)

    def export(self, spans):
        with self._path.open("a") as file:
            for span in spans:
                file.write(span.to_json(indent=None) + "\n")
        return SpanExportResult.SUCCESS


if "TRACED_FOLDER" in os.environ:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Files()))
    trace.set_tracer_provider(provider)
