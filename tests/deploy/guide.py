"""What the guides show: commands, and files."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.brokers import Broker
from tests.ports import free_port

from .harness import Deployed

__all__ = ["DOCS", "DOCUMENTED", "EXAMPLE", "FEW", "commands", "deployed", "on_port", "shown"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "howto"
EXAMPLE = ROOT / "examples" / "deploy"
DOCUMENTED = 4  # workers
FEW = 2  # where more would prove nothing


def commands(page: str, contains: str) -> list[str]:
    """The commands of a guide, shell lines joined, that contain some words."""
    text = (DOCS / page).read_text("utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [" ".join(line.split()) for line in found if contains in line]


def on_port(command: str, port: int, documented: int = 8001) -> str:
    """A command as it is, but for its port."""
    assert command.count(str(documented)) == 1, command
    return command.replace(str(documented), str(port))


def shown(name: str) -> str:
    """One of the files that the guides show."""
    return (EXAMPLE / name).read_text("utf-8")


def deployed(
    server: str,
    folder: Path,
    broker: Broker,
    *,
    number: int = 0,
    workers: int = FEW,
    env: Mapping[str, str] | None = None,
) -> Deployed:
    """The guide's command for a server, and its configuration file, with a port of our own.

    Args:
        number: which of several commands.
        workers: instead of those that the guide starts.
        env: environment variables.
    """
    command = commands("deploy-servers.md", f"python -m {server}")[number]
    command = command.replace(f"--workers {DOCUMENTED}", f"--workers {workers}")
    port = free_port()
    for name in ("gunicorn.conf.py", "hypercorn.toml"):
        if name in command:
            text = on_port(shown(name), port)
            assert f"workers = {DOCUMENTED}" in text
            text = text.replace(f"workers = {DOCUMENTED}", f"workers = {workers}")
            # Hypercorn remembers a connection for so many seconds, or to the end of its patience.
            text = text.replace("websocket_ping_interval = 20", "websocket_ping_interval = 1")
            (folder / name).write_text(text)
            command = command.replace(name, str(folder / name))
            break
    else:
        command = on_port(command, port)
    return Deployed(command, folder=folder, broker=broker, address=port, env=env)
