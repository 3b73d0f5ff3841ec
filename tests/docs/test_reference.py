"""The API reference has a place for every public name, and names what signals are sent with."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import channels
from channels import signals

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "reference" / "api"
PAGES = {page: page.read_text("utf-8") for page in sorted(API.rglob("*.md"))}

DIRECTIVE = re.compile(
    r"^\.\. (autoclass|autofunction|autodata|autoexception|py:data):: ([\w.]+)$", re.MULTILINE
)
MODULE = re.compile(r"^\.\. (?:py:module|automodule):: ([\w.]+)$", re.MULTILINE)
MODULES = sorted(name for text in PAGES.values() for name in MODULE.findall(text))

INTERNAL = re.compile(
    r"channels\.(_.*|apps|checks|\w+_checks|management(\..*)?|generic(\._.*)?|security|contrib"
    r"|live(\..*)?|(layers|testing|worker|control|messages|revocation|security\.limits|security\.permissions"
    r"|security\.tokens"
    r"|contrib\.(admin|debug_toolbar|health|logs|opentelemetry|progress|prometheus|sentry|tasks))\..*)$"
)
"""The modules that projects import nothing from, unless there is a page that says otherwise."""

NO_PUBLIC_NAMES = {"channels.consumer.find_handler", "channels.consumer.framework"}
"""What modules of Channels import from one another, although the module has public names too."""


def resolve(path: str) -> Any:
    """The object of this dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def documented() -> dict[str, str]:
    """What has a place in the reference, by dotted path: the directive that gives it one."""
    directives = [found for text in PAGES.values() for found in DIRECTIVE.findall(text)]
    found = {path: kind for kind, path in directives if "." in path}
    found |= {f"channels.signals.{name}": "py:data" for name in arguments_on_the_page()}
    exceptions = importlib.import_module("channels.exceptions")
    return found | {f"channels.exceptions.{name}": "automodule" for name in exceptions.__all__}


def arguments_on_the_page() -> dict[str, set[str]]:
    """Each signal of its page, with its arguments."""
    _, *parts = re.split(r"^\.\. py:data:: ", PAGES[API / "signals.md"], flags=re.MULTILINE)
    return {
        part.partition("\n")[0]: set(re.findall(r":param (\w+):", part)) for part in map(str, parts)
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_place(module: str) -> None:
    places = documented()
    objects = [resolve(path) for path in places if "DEFAULT" not in path]
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    missing = [
        name
        for name in sorted(names - places.keys() - NO_PUBLIC_NAMES)
        if not any(resolve(name) is known for known in objects)
    ]
    assert missing == [], f"Give them a place below docs/reference/api: {missing}"


def test_every_public_module_has_a_page() -> None:
    modules = {found.name for found in pkgutil.walk_packages(channels.__path__, "channels.")}
    public = {module for module in modules if not INTERNAL.match(module)}
    assert public <= set(MODULES)
    assert set(MODULES) <= modules


def test_every_class_has_a_page_of_its_own() -> None:
    wrong = [
        path
        for path, kind in documented().items()
        if kind == "autoclass" and f".. autoclass:: {path}\n" not in page_of(path)
    ]
    assert wrong == []
    classes = {path for path, kind in documented().items() if inspect.isclass(resolve(path))}
    pages = {path for path in classes if page_of(path)}
    others = {path for path in classes - pages if not issubclass(resolve(path), Exception)}
    assert others == {"channels.db.database_sync_to_async"}  # called as a function is


def page_of(path: str) -> str:
    """The text of the page that has the name of this class, or nothing."""
    name = path.rpartition(".")[2]
    return next((text for page, text in PAGES.items() if page.stem == name), "")


def test_every_page_is_in_an_index() -> None:
    for page, text in PAGES.items():
        index = page.parent / "index.md" if page.stem != "index" else API / "index.md"
        entry = page.stem if page.stem != "index" else f"{page.parent.name}/index"
        if page != API / "index.md":
            assert f"\n{entry}\n" in PAGES[index], page
        assert text.startswith("# "), page


# Defined for those that listen, before what sends them is there.
COMING = {"limit_exceeded"}


class TestSignals:
    def sent(self) -> dict[str, set[str]]:
        """The arguments with which the source sends each signal."""
        found: dict[str, set[str]] = {}
        for path in (ROOT / "src" / "channels").rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(call, ast.Call) or not call.args:
                    continue
                signal = ast.unparse(call.args[0])
                if re.fullmatch(r"signals\.\w+", signal):
                    given = {word.arg for word in call.keywords if word.arg}
                    if ast.unparse(call.func) != "signals.emit":
                        given |= {"consumer", "scope"}  # which the helper of consumers adds
                    found.setdefault(signal.removeprefix("signals."), set()).update(given)
        return found

    def test_the_page_names_every_signal_and_its_arguments(self) -> None:
        assert set(arguments_on_the_page()) == set(signals.__all__) - {"emit"}
        sent = self.sent()
        documented = arguments_on_the_page()
        assert sent == {
            name: documented[name] for name in documented if name not in COMING or name in sent
        }

    def test_the_topic_names_the_same_arguments(self) -> None:
        topic = (ROOT / "docs" / "topics" / "signals.md").read_text("utf-8")
        rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) \|", topic, re.MULTILINE)
        for name, arguments in rows:
            assert arguments_on_the_page()[name] <= set(re.findall(r"`(\w+)`", arguments)), name
