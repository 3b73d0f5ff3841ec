"""A forked child disturbs nothing of its parent's, and begins anew."""

import os
import selectors
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from channels._runtime.forks import disown


def leads_nowhere(descriptor):
    return os.path.samestat(os.fstat(descriptor), Path(os.devnull).stat())


def test_what_was_the_parents_leads_nowhere():
    selector = selectors.DefaultSelector()
    mine, theirs = socket.socketpair()
    selector.register(mine, selectors.EVENT_READ)
    disown(selector)
    assert leads_nowhere(mine.fileno())
    if hasattr(selector, "fileno"):
        assert leads_nowhere(selector.fileno())
    assert theirs.recv(1) == b""  # the one end was closed, and the other is not touched
    for end in (mine, theirs):
        end.close()


def test_a_descriptor_that_was_closed_before_is_no_obstacle():
    selector = selectors.SelectSelector()
    reading, writing = os.pipe()
    selector.register(reading, selectors.EVENT_READ)
    os.close(reading)
    disown(selector)  # which gets the number of the closed one for its own
    assert leads_nowhere(reading)
    for descriptor in (reading, writing):
        os.close(descriptor)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_has_a_bridge_of_its_own_and_the_parent_keeps_its_own():
    """In a process of its own: pytest has threads, which a fork would not survive."""
    code = """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, Python 3.12
        from channels._runtime.loops import bridge
        from channels._runtime.per_loop import PerLoop

        values = PerLoop(os.getpid)

        async def ask():
            return values.get(), os.getpid(), asyncio.get_running_loop()

        *pids, loop = bridge.call(ask())
        assert pids == [os.getpid()] * 2
        child = os.fork()
        if not child:
            import faulthandler
            faulthandler.dump_traceback_later(8, exit=True)
            *pids, own = bridge.call(ask(), timeout=5)
            os._exit(0 if pids == [os.getpid()] * 2 and own is not loop else 1)
        _, status = os.waitpid(child, 0)
        *pids, same = bridge.call(ask(), timeout=5)
        assert pids == [os.getpid()] * 2 and same is loop
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        timeout=30,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
