"""Run the code of pages, in order, inside a real Django project: each page in a process of its own.

Python blocks share one namespace and one event loop, and may ``await`` as if each were the body of
a coroutine; the source lines of a traceback are the page's.

To import Django takes longer than most pages do. So the program, which the fixture ``run_page``
starts, imports it once, and is forked for each page that a line of its input asks for.
"""

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parents[1])  # and not this folder, whose modules have common names

from tests.docs.markdown import Block, blocks_of  # noqa: E402

AWAITABLE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
CHECKER = doctest.OutputChecker()
PRELOADED = (
    "django.core.handlers.asgi",
    "django.core.management",
    "django.db.backends.sqlite3.base",
    "django.db.migrations.executor",
    "django.test",
    "channels.auth",
    "channels.generic.http",
    "channels.generic.websocket",
    "channels.layers.redis",
    "channels.security.websocket",
    "channels.testing",
    "channels.worker",
)


class Page:
    """One page's namespace, event loop and project."""

    def __init__(self, page: Path) -> None:
        self.blocks = [
            block
            for block in blocks_of(page)
            if block.language in ("python", "pycon") or block.mark == "file"
        ]
        self.namespace: dict[str, Any] = {"__name__": "documentation"}
        self.overrides = contextlib.ExitStack()

    def run(self) -> None:
        """Write the page's files, start Django, then execute block after block."""
        for block in self.blocks:
            if block.mark == "file":
                write(block)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("check")
        if any(block.text == "chat/models.py" for block in self.blocks):
            call_command("makemigrations", verbosity=0)
            call_command("migrate", verbosity=0)
        with self.overrides, asyncio.Runner() as self.loop:
            for block in self.blocks:
                self.execute(block)

    def execute(self, block: Block) -> None:
        """Do with one block what its mark and its language say."""
        if block.mark == "not executed":
            return
        if block.mark == "file":
            write(block)
            import_file(block.text)
        elif block.mark == "settings":
            self.override(block)
        elif block.language == "pycon":
            self.session(block)
        else:
            self.evaluate(block.code, block, block.line, "exec")

    def evaluate(self, code: str, block: Block, line: int, mode: str) -> None:
        """Compile ``code`` as it stands at ``line`` of its page and run it to its end."""
        source = "\n" * line + code
        outcome = eval(compile(source, str(block.page), mode, AWAITABLE), self.namespace)
        if inspect.iscoroutine(outcome):
            self.loop.run(outcome)

    def session(self, block: Block) -> None:
        """An interactive session: what each statement prints must be what the page shows."""
        for example in doctest.DocTestParser().get_examples(block.code):
            printed = io.StringIO()
            try:
                with contextlib.redirect_stdout(printed):
                    self.evaluate(example.source, block, block.line + example.lineno, "single")
            except Exception as error:
                if example.exc_msg is None:
                    raise
                got, want = traceback.format_exception_only(error)[-1], example.exc_msg
            else:
                got, want = printed.getvalue(), example.want
            if not CHECKER.check_output(want, got, doctest.ELLIPSIS):
                where = f"{block.page}:{block.line + example.lineno + 1}"
                raise AssertionError(f"{where}: expected {want!r}, got {got!r}")

    def override(self, block: Block) -> None:
        """Put settings in force, run the system checks, and build every channel layer."""
        from django.core.management import call_command
        from django.test import override_settings

        from channels.layers import channel_layers

        values: dict[str, Any] = {"__name__": "settings"}
        exec(compile("\n" * block.line + block.code, str(block.page), "exec"), values)
        chosen = {name: value for name, value in values.items() if name.isupper()}
        self.overrides.enter_context(override_settings(**chosen))
        call_command("check")
        for alias in chosen.get("CHANNEL_LAYERS", ()):
            channel_layers[alias]


def write(block: Block) -> None:
    """Put a file block where it says it belongs."""
    path = Path(block.text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.code, "utf-8")


def import_file(name: str) -> None:
    """Import a Python file of the project, again if it changed; models are defined once."""
    if not name.endswith(".py"):
        return
    from django.urls import clear_url_caches

    importlib.invalidate_caches()
    module = name.removesuffix(".py").replace("/", ".")
    if module in sys.modules and not module.endswith((".models", ".settings")):
        importlib.reload(sys.modules[module])
    else:
        importlib.import_module(module)
    clear_url_caches()


def preload() -> None:
    """Import what most pages need, as far as it needs no settings."""
    for name in PRELOADED:
        importlib.import_module(name)


def main() -> None:
    """Fork for each page and tell how that process ended; there, return when the page is done."""
    preload()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            return run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def run(page: str, folder: str, environment: dict[str, str], output: str) -> None:
    """Run one page in ``folder``; write what it prints to the file ``output``."""
    for opened, mode, descriptors in ((os.devnull, "rb", [0]), (output, "wb", [1, 2])):
        with Path(opened).open(mode) as file:
            for descriptor in descriptors:
                os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, folder)
    Page(Path(page)).run()


if __name__ == "__main__":
    main()
