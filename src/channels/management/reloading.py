"""Starting a command again when the project's code changes, without losing what it is at.

Django's autoreloader finds out what changes. Its way to restart does not suit work that takes a
while: the process ends at once, and is killed a quarter of a second after Ctrl-C. Here the process
is told to end, and has the time that it needs.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

from django.utils import autoreload

__all__ = ["RELOAD", "Changes", "is_child", "supervise"]

#: The exit status of a process that is to be started again (Django's).
RELOAD = 3


def is_child() -> bool:
    """Whether this process is the one that works, and not the one that starts it."""
    return os.environ.get(autoreload.DJANGO_AUTORELOAD_ENV) == "true"


def supervise(say: Callable[[str], object]) -> int:
    """Run this command in a child process, and again whenever that ends with :data:`RELOAD`.

    A child that fails is started again when a file has changed. Signals are passed on.

    Args:
        say: tells the developer what happens.

    Returns:
        The exit status of the last child.
    """
    command = autoreload.get_child_arguments()
    environment = {**os.environ, autoreload.DJANGO_AUTORELOAD_ENV: "true"}
    status = RELOAD
    with _Signals() as signals:
        while status and not signals.told:
            child = subprocess.Popen(command, env=environment, close_fds=False)  # noqa: S603 - itself
            status = signals.wait_for(child)
            if status not in {0, RELOAD} and not signals.told:
                say(f"It has ended with status {status}, and starts again when a file changes.")
                signals.wait_for_change()
    return max(status, 0)  # one that was told to end may not have listened to the signal yet


class _Signals:
    """SIGTERM and SIGINT, which are passed on to a child while there is one.

    Ctrl-C reaches all processes of the terminal, so the child may get it twice.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting = False
        #: Whether this process was told to end.
        self.told = False

    def __enter__(self) -> Self:
        self._former = {n: signal.signal(n, self._handle) for n in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def wait_for(self, child: "subprocess.Popen[bytes]") -> int:
        """Wait until ``child`` has ended; its exit status."""
        self._child = child
        if self.told:  # pragma: no cover - in the moment in which the child was started
            child.terminate()
        status = child.wait()
        self._child = None
        return status

    def wait_for_change(self) -> None:
        """Wait until a file changes of the modules that this process has loaded, or for the end."""
        # SystemExit is the way in which Django tells of a change.
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            self._waiting = True
            autoreload.get_reloader().run_loop()
        self._waiting = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.told = True
        if self._child is not None:
            self._child.terminate()
        elif self._waiting:  # pragma: no branch - else it ends without being waited for
            raise KeyboardInterrupt


class Changes:
    """Notices when a file of this process changes.

    Args:
        stop: called then, in another thread. It has the process end.
        patience: seconds for that. Then the process ends with :data:`RELOAD`, whatever threads
            still run.
    """

    def __init__(self, stop: Callable[[], object], patience: float) -> None:
        self._stop = stop
        self._patience = patience
        #: Whether a file has changed.
        self.noticed = False
        threading.Thread(target=self._watch, name="channels-reload", daemon=True).start()

    def _watch(self) -> None:
        try:
            autoreload.get_reloader().run(threading.main_thread())
        except SystemExit:  # the way in which Django tells of it
            self.noticed = True
            self._stop()
            time.sleep(self._patience)
            os._exit(RELOAD)
