"""Every atomic operation on the server, one Lua script to a file."""

import hashlib
from importlib.resources import files
from typing import NamedTuple

__all__ = ["SCRIPTS", "Script"]


class Script(NamedTuple):
    """A Lua script and the SHA-1 digest that servers know it by."""

    name: str
    source: bytes
    sha: str


def _load() -> dict[str, Script]:
    found = {}
    for file in files(__name__).iterdir():
        if file.name.endswith(".lua"):
            name = file.name.removesuffix(".lua")
            source = file.read_bytes()
            digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
            found[name] = Script(name, source, digest)
    return found


#: All scripts, by name.
SCRIPTS = _load()
