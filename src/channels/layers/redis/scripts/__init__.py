"""Every atomic operation on the server, one Lua script to a file."""

import hashlib
from importlib.resources import files
from typing import NamedTuple

__all__ = ["SCRIPTS", "Script", "load_scripts"]


class Script(NamedTuple):
    """A Lua script and the SHA-1 digest that servers know it by."""

    name: str
    source: bytes
    sha: str


def load_scripts(package: str, *, prelude: str = "") -> dict[str, Script]:
    """The scripts in the files of a package.

    Args:
        package: its name.
        prelude: the name of a file whose source comes before each of the others, and is none of
            them.

    Returns:
        The scripts by their names, those of the files.
    """
    found = {}
    sources = {
        file.name.removesuffix(".lua"): file.read_bytes()
        for file in files(package).iterdir()
        if file.name.endswith(".lua")
    }
    shared = sources.pop(prelude, b"")
    for name, source in sources.items():
        source = shared + source
        digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        found[name] = Script(name, source, digest)
    return found


#: All scripts that servers are given, by name. Rooms that build on the layers add theirs.
SCRIPTS = load_scripts(__name__)
