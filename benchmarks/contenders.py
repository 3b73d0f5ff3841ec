"""Who is compared, and the environments they live in."""

import hashlib
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CONTENDERS",
    "ENVIRONMENTS",
    "HERE",
    "ROOT",
    "UNDECLARED",
    "Contender",
    "environment",
    "versions",
]

HERE = Path(__file__).parent
ROOT = HERE.parent
VENVS = HERE / ".venvs"


CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"

# What pip installs into each environment. The peers do not work well on redis-py 8: idle consumers
# of channels_redis 4.3.0 end every five seconds there, and broadcaster 0.3.1 receives nothing.
ENVIRONMENTS = {
    "checkout": ("-e", f"{ROOT}[redis]", "redis==8.1.0"),
    "channels-4": ("channels==4.3.2", "channels_redis==4.3.0", "redis==7.4.1", "hiredis"),
    "starlette": ("starlette", "broadcaster[redis]==0.3.1", "redis==7.4.1", "hiredis"),
    "asgi": (),
    "checkout-tasks": ("-e", f"{ROOT}[redis,tasks]", "redis==8.1.0"),
    "checkout-brokers": ("-e", f"{ROOT}[redis,rabbitmq]", "redis==8.1.0"),
    "channels-rabbitmq": ("channels==4.3.2", "channels-rabbitmq==4.0.1"),
    "checkout-channels-rabbitmq": ("-e", str(ROOT), "carehare==1.0.2", "msgpack"),
    "celery": ("celery[redis]==5.7.0", "redis==8.1.0", "hiredis"),
    "django-tasks-db": ("django-tasks-db==0.13.0", "django-tasks==0.12.0", "Django"),
}

# What is installed besides, although it says that it does not fit what is there: channels-rabbitmq
# asks for channels 4.
UNDECLARED = {"checkout-channels-rabbitmq": ("--no-deps", "channels-rabbitmq==4.0.1")}


@dataclass(frozen=True)
class Contender:
    """One bar of the chart.

    Attributes:
        title: For the reader.
        environment: Its name in ``ENVIRONMENTS``.
        app: The module under ``apps/``.
        redis_app: The one for scenarios with Redis, where that is another.
        layer: The channel layer in those.
    """

    title: str
    environment: str
    app: str
    redis_app: str = ""
    layer: str = ""


CONTENDERS = {
    "checkout": Contender("this checkout", "checkout", "django_chat", layer=CORE),
    "checkout-sync": Contender("the same, sync layer", "checkout", "django_chat", layer=CORE),
    "checkout-pubsub": Contender("this checkout, pubsub", "checkout", "django_chat", layer=PUBSUB),
    "channels-4": Contender("channels 4.3.2", "channels-4", "django_chat", layer=CORE),
    "channels-4-pubsub": Contender(
        "channels 4.3.2, pubsub", "channels-4", "django_chat", layer=PUBSUB
    ),
    "starlette": Contender("Starlette", "starlette", "starlette_chat", "starlette_broadcaster"),
    "asgi": Contender("bare ASGI", "asgi", "bare_asgi"),
}


def environment(name: str) -> str:
    """The interpreter of an environment, which is made or renewed where it has to be."""
    constraints = HERE / "constraints.txt"
    arguments = [*ENVIRONMENTS[name], "uvicorn[standard]", "-c", str(constraints)]
    undeclared = UNDECLARED.get(name, ())
    wanted = repr((arguments, undeclared)) + sys.version + constraints.read_text()
    if name.startswith("checkout"):
        wanted += (ROOT / "pyproject.toml").read_text()
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    folder = VENVS / name
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Making the environment {name} ...", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        for each in filter(None, (arguments, undeclared)):
            subprocess.run([python, "-m", "pip", "install", "-qq", *each], check=True)
        stamp.write_text(digest)
    return str(python)


def versions(python: str) -> dict[str, str]:
    """The versions of Python and of the packages that matter, as that interpreter sees them."""
    script = """if True:
        import importlib.metadata, json, platform
        names = "channels channels_redis redis hiredis django asgiref starlette broadcaster"
        names += " uvicorn uvloop websockets celery kombu django-tasks django-tasks-db"
        names += " aiormq channels-rabbitmq carehare"
        installed = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
        found = {name: installed[name] for name in names.split() if name in installed}
        print(json.dumps({"python": platform.python_version(), **found}))
    """
    output = subprocess.run([python, "-c", script], check=True, capture_output=True).stdout
    return dict(json.loads(output))
