"""Who is compared, and the environments they live in."""

import hashlib
import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CONTENDERS", "HERE", "ROOT", "Contender", "environment", "versions"]

HERE = Path(__file__).parent
ROOT = HERE.parent
VENVS = HERE / ".venvs"


@dataclass(frozen=True)
class Contender:
    """A title for the reader, the module under ``apps/``, and what pip installs for it."""

    title: str
    app: str
    packages: tuple[str, ...]


CONTENDERS = {
    "checkout": Contender("this checkout", "django_chat", ("-e", str(ROOT))),
    "channels-4": Contender("channels 4.3.2", "django_chat", ("channels==4.3.2",)),
    "starlette": Contender("Starlette", "starlette_chat", ("starlette",)),
    "asgi": Contender("bare ASGI", "bare_asgi", ()),
}


def environment(name: str) -> str:
    """The interpreter of a contender's environment, made or renewed where it has to be."""
    constraints = HERE / "constraints.txt"
    arguments = [*CONTENDERS[name].packages, "uvicorn[standard]", "-c", str(constraints)]
    wanted = repr(arguments) + sys.version + constraints.read_text()
    if name == "checkout":
        wanted += (ROOT / "pyproject.toml").read_text()
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    folder = VENVS / name
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"Making the environment of {CONTENDERS[name].title} ...", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *arguments], check=True)
        stamp.write_text(digest)
    return str(python)


def versions(python: str) -> dict[str, str]:
    """The versions of Python and of the packages that matter, as that interpreter sees them."""
    script = """if True:
        import importlib.metadata, json, platform
        names = ("channels", "Django", "asgiref", "starlette", "uvicorn", "uvloop", "websockets")
        installed = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
        found = {n.lower(): installed[n.lower()] for n in names if n.lower() in installed}
        print(json.dumps({"python": platform.python_version(), **found}))
    """
    output = subprocess.run([python, "-c", script], check=True, capture_output=True).stdout
    return dict(json.loads(output))
