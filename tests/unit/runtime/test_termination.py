"""SIGTERM is held back, in real processes: with both kinds of handlers, on both event loops."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from channels._runtime import termination
from channels._runtime.connections import Connections
from channels._runtime.termination import Termination

pytestmark = pytest.mark.usefixtures("measured_processes")

PATIENCE = 60  # seconds; a process that hangs is killed then

PRELUDE = """
import asyncio, logging, os, signal, sys, threading, time, types
from channels._runtime import termination
from channels._runtime.termination import Termination

LOOP, HANDLER = sys.argv[1:]
TERM = signal.SIGTERM
logging.basicConfig(format="log: %(message)s", stream=sys.stdout)

def say(text):
    sys.stdout.flush()
    os.write(1, f"{text}\\n".encode())

def new_loop():
    if LOOP == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)

async def told():
    '''Wait for a line from whoever started this.'''
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

def wakeup():
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor

class Server:
    '''Handles SIGTERM in the way that was asked for.'''

    def __init__(self):
        self.loop, self.stopped, self.calls = asyncio.get_running_loop(), asyncio.Event(), 0
        if HANDLER == "loop":
            self.loop.add_signal_handler(TERM, self.handle)
        else:
            signal.signal(TERM, lambda *_: self.handle())

    def handle(self):
        self.calls += 1
        say("server told")
        self.loop.call_soon_threadsafe(self.stopped.set)

async def work():
    say("working")
    await told()
    say("worked")

async def work_for_ever():
    say("working")
    await asyncio.Event().wait()
"""


class Process:
    """Runs a script, and talks with it."""

    def __init__(self, script, loop, handler):
        source = PRELUDE + textwrap.dedent(script)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", source, loop, handler],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.watchdog = threading.Timer(PATIENCE, self.process.kill)
        self.watchdog.start()
        self.seen = []

    def expect(self, *lines):
        """Read lines, which must be these."""
        for line in lines:
            self.seen.append(self.process.stdout.readline().rstrip("\n"))
            assert self.seen[-1] == line, self.seen

    def tell(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def end(self, code=0):
        """Whatever else it says, until it ends."""
        self.process.stdin.close()
        rest = self.process.stdout.read()
        assert self.process.wait() == code, (self.seen, rest)
        return rest.splitlines()


LOOPS = ["asyncio", "uvloop"]
HANDLERS = ["python", "loop"]


@pytest.fixture(params=LOOPS)
def loop_kind(request):
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return request.param


@pytest.fixture
def start(loop_kind):
    started = []

    def start(script, handler="python"):
        started.append(Process(script, loop_kind, handler))
        return started[-1]

    yield start
    for process in started:
        process.watchdog.cancel()
        process.process.kill()
        with process.process:
            pass


ORDINARY = """
    async def main(work, echo):
        termination._ECHO = echo
        server = Server()
        handler, descriptor = signal.getsignal(TERM), wakeup()
        Termination().arm(work)
        say("armed")
        await server.stopped.wait()
        assert signal.getsignal(TERM) == handler
        assert wakeup() == descriptor
        await asyncio.sleep(0.1)  # nothing more comes
        say(f"server told {server.calls} times")

"""


@pytest.mark.parametrize("handler", HANDLERS)
def test_the_server_is_told_once_when_the_work_is_done(start, handler):
    process = start(ORDINARY + "    run(main(work, echo=60))", handler)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "server told", "server told 1 times")
    assert process.end() == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_second_signal_goes_to_the_server_at_once(start, handler):
    process = start(ORDINARY + "    run(main(work_for_ever, echo=0))", handler)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.signal()
    process.expect("server told", "server told 1 times")
    assert process.end() == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_the_echo_of_a_signal_does_not_count(start, handler):
    """Told by the service manager and by the parent process, as under systemd."""
    process = start(ORDINARY + "    run(main(work, echo=60))", handler)
    process.expect("armed")
    process.signal()
    process.signal()
    process.expect("working")
    process.signal()
    process.tell()
    process.expect("worked", "server told", "server told 1 times")
    assert process.end() == []


@pytest.mark.parametrize("interrupts", HANDLERS)
def test_ctrl_c_is_left_to_the_server_and_told(start, interrupts):
    process = start(
        f"""
        async def main():
            server, ended = Server(), asyncio.Event()
            loop = asyncio.get_running_loop()
            if {interrupts!r} == "loop":
                loop.add_signal_handler(signal.SIGINT, say, "server interrupted")
            else:
                signal.signal(signal.SIGINT, lambda *_: say("server interrupted"))
            def interrupted():
                say("interrupted")
                ended.set()
            termination = Termination()
            termination.arm(work, interrupted)
            say("ready")
            await ended.wait()
            termination.disarm()
        run(main())
        """
    )
    process.expect("ready")
    process.signal(signal.SIGINT)
    assert sorted(process.end()) == ["interrupted", "server interrupted"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=["loop", "python"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_other_signals_work_while_it_is_armed(start, handler, number):
    script = """
    async def main():
        server, loop = Server(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, say, "heard")
        signal.signal(signal.SIGUSR2, lambda *_: say("heard"))
        Termination().arm(work)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(3)")
        say(f"child {await process.wait()}")
        say("armed")
        await server.stopped.wait()
        loop.remove_signal_handler(signal.SIGUSR1)
        say("stopped")

    run(main())
    """
    process = start(script, handler)
    process.expect("child 3", "armed")
    for _ in range(3):
        process.signal(number)
        process.expect("heard")
    process.signal()
    process.expect("working")
    process.signal(number)
    process.expect("heard")
    process.tell()
    process.expect("worked", "server told", "stopped")
    assert process.end() == []


def test_a_handler_that_is_added_while_it_is_armed_works(start):
    """The event loop takes the wakeup file descriptor, and keeps it."""
    script = """
    async def main():
        server, loop = Server(), asyncio.get_running_loop()
        Termination().arm(work)
        loop.add_signal_handler(signal.SIGUSR1, say, "user 1")
        say("armed")
        await server.stopped.wait()
        await told()
        say("server stopped")
        await told()

    run(main())
    """
    process = start(script)
    process.expect("armed")
    process.signal(signal.SIGUSR1)
    process.expect("user 1")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "server told")
    process.tell()
    # Only now: of two signals in one turn of its loop, uvloop may handle the later one twice.
    process.expect("server stopped")
    process.signal(signal.SIGUSR1)
    process.expect("user 1")
    process.tell()
    assert process.end() == []


def test_a_signal_that_has_just_come_is_handed_on_by_disarm(start):
    script = """
    async def main():
        came = asyncio.Event()
        server = Server()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, came.set)
        termination = Termination()
        termination.arm(work)
        os.kill(os.getpid(), signal.SIGUSR1)
        termination.disarm()  # before the event loop has turned
        await asyncio.wait_for(came.wait(), 20)
        say("it came")

    run(main())
    """
    process = start(script)
    process.expect("it came")
    assert process.end() == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_disarmed_all_is_as_before(start, handler):
    script = """
    async def main():
        server = Server()
        before = signal.getsignal(TERM), wakeup()
        termination = Termination()
        for _ in range(5):
            termination.disarm()
            termination.arm(work)
            armed = signal.getsignal(TERM), wakeup()
            termination.arm(work)
            assert (signal.getsignal(TERM), wakeup()) == armed != before
            termination.disarm()
            termination.disarm()
            assert (signal.getsignal(TERM), wakeup()) == before
        say("disarmed")
        await server.stopped.wait()
        say(f"server told {server.calls} times")

    run(main())
    """
    process = start(script, handler)
    process.expect("disarmed")
    process.signal()
    process.expect("server told", "server told 1 times")
    assert process.end() == []


def test_armed_again_it_works_again(start):
    script = """
    async def main():
        server = Server()
        termination = Termination()
        termination.arm(work)
        termination.disarm()
        termination.arm(work)
        say("armed")
        await server.stopped.wait()

    run(main())
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "server told")
    assert process.end() == []


def test_a_fork_gets_its_signal_and_the_parent_keeps_its_own(start):
    """Whatever the child inherited of the parent's loop, it ends as if it had not."""
    script = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads

    async def main():
        server = Server()
        Termination().arm(work)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, b"x")  # signals from before are forgotten
                for _ in range(1000):
                    if server.calls:
                        break
                    time.sleep(0.01)
            finally:
                os._exit(3)
        os.read(reading, 1)
        os.kill(child, TERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        say("child ended")
        await asyncio.sleep(0.1)
        assert server.calls == 0
        say("ready")
        await server.stopped.wait()

    run(main())
    """
    process = start(script)
    process.expect("server told", "child ended", "ready")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "server told")
    process.end()


@pytest.mark.parametrize("default", ["SIG_DFL", "SIG_IGN"])
def test_without_a_handler_signals_are_left_alone(start, default):
    script = f"""
    async def main():
        signal.signal(TERM, signal.{default})
        before = wakeup()
        Termination().arm(work)
        assert signal.getsignal(TERM) == signal.{default}
        assert wakeup() == before
        say("armed")
        await told()

    run(main())
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    if default == "SIG_DFL":
        assert process.end(-signal.SIGTERM) == []
    else:
        process.tell()
        assert process.end() == []


def test_other_threads_leave_signals_alone(start):
    script = """
    async def main():
        before = signal.getsignal(TERM), wakeup()

        async def arm():
            termination = Termination()
            termination.arm(work)
            termination.disarm()

        await asyncio.to_thread(asyncio.run, arm())
        assert (signal.getsignal(TERM), wakeup()) == before
        say("left alone")

    signal.signal(TERM, lambda *_: None)
    run(main())
    """
    process = start(script)
    process.expect("left alone")
    assert process.end() == []


def test_disabled_it_leaves_signals_alone(start):
    script = """
    async def main():
        server = Server()
        Termination.disabled = True
        Termination().arm(work)
        say("armed")
        await server.stopped.wait()

    run(main())
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    process.expect("server told")
    assert process.end() == []


@pytest.mark.parametrize("more", ["", "loop.add_signal_handler(signal.SIGUSR1, say, 'user 1')"])
def test_a_loop_that_was_closed_holds_nothing_back(start, more):
    """Whether or not it had a file descriptor that is gone with it."""
    script = f"""
    async def main():
        loop = asyncio.get_running_loop()
        {more}
        Termination().arm(work)
        say("armed")

    signal.signal(TERM, handler := lambda *_: say("old handler"))
    run(main())
    assert signal.getsignal(TERM) != handler
    say("closed")
    sys.stdin.readline()
    assert signal.getsignal(TERM) == handler
    assert wakeup() == -1
    """
    process = start(script)
    process.expect("armed", "closed")
    process.signal()
    process.expect("old handler")
    process.tell()
    assert process.end() == []


def test_a_loop_that_does_not_run_holds_nothing_back(start):
    script = """
    async def main():
        Termination().arm(work)
        say("armed")

    signal.signal(TERM, lambda *_: say("old handler"))
    loop = new_loop()
    loop.run_until_complete(main())
    say("stopped")
    sys.stdin.readline()
    loop.close()
    """
    process = start(script)
    process.expect("armed", "stopped")
    process.signal()
    process.expect("old handler")
    process.tell()
    assert process.end() == []


def test_one_loop_after_another(start):
    """Neither of the first two was disarmed; the third works, and the end is as the beginning."""
    script = """
    async def main(last):
        Termination().arm(work)
        if last:
            say("armed")
            await stopped.wait()

    def server(*_):
        say("server told")
        stopped.set()

    stopped = asyncio.Event()
    signal.signal(TERM, server)
    for last in (False, False, True):
        run(main(last))
    assert signal.getsignal(TERM) is server
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "server told")
    assert process.end() == []


def test_a_handler_that_is_installed_later_is_called_too(start):
    """As libraries do which call the handler that they found. The server is told once."""
    script = """
    async def main():
        server = Server()
        Termination().arm(work)
        found = signal.getsignal(TERM)

        def later(number, frame):
            say("later")
            found(number, frame)

        signal.signal(TERM, later)
        say("armed")
        await server.stopped.wait()
        assert signal.getsignal(TERM) is later
        say(f"server told {server.calls} times")

    run(main())
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    process.expect("later", "working")
    process.tell()
    process.expect("worked", "later", "server told", "server told 1 times")
    assert process.end() == []


@pytest.mark.parametrize("handler", HANDLERS)
def test_work_that_raises_hands_over_all_the_same(start, handler):
    script = """
    async def main():
        async def fail():
            raise RuntimeError("no work today")

        server = Server()
        Termination().arm(fail)
        say("armed")
        await server.stopped.wait()

    run(main())
    """
    process = start(script, handler)
    process.expect("armed")
    process.signal()
    rest = process.end()
    assert rest[0] == "log: Draining failed; the server ends the connections"
    assert "RuntimeError: no work today" in rest
    assert rest.count("server told") == 1


def test_a_loop_that_is_cancelled_at_work_ends(start):
    """Control-C while it drains: nobody is told any more, and nothing hangs."""
    script = """
    async def main():
        server, termination = Server(), Termination()
        termination.arm(work_for_ever)
        say("armed")
        try:
            await server.stopped.wait()
        except asyncio.CancelledError:
            say("cancelled")
            raise
        finally:
            termination.disarm()

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(main())
    except KeyboardInterrupt:
        say("interrupted")
    """
    process = start(script)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.signal(signal.SIGINT)
    process.expect("cancelled")
    assert process.end() == ["interrupted"]


# Hypercorn, as far as it goes without it; the real one is in tests/conformance/servers.

HYPERCORN = """
    import multiprocessing
    multiprocessing.parent_process = object  # a worker has one
    sys.modules["hypercorn"] = types.ModuleType("hypercorn")

    utils = types.ModuleType("hypercorn.utils")
    utils.told = told
    exec("async def raise_shutdown(): await told()", vars(utils))
    raise_shutdown = utils.raise_shutdown

    async def main():
        termination = Termination()
        others = [asyncio.create_task(asyncio.sleep(60)) for _ in range(3)]
        shutdown = asyncio.create_task(raise_shutdown())
        await asyncio.sleep(0)
        termination.arm(drained)
        say("armed")
        await shutdown
        say("shutting down")
        await worked.wait()
        termination.disarm()
        say("ended")

    async def drained():
        say("working")
        await told()
        say("worked")
        worked.set()

    worked = asyncio.Event()
    run(main())
"""


def test_the_end_of_hypercorns_task_starts_the_work(start):
    process = start(HYPERCORN)
    process.expect("armed")
    process.tell()
    process.expect("shutting down", "working")
    process.tell()
    process.expect("worked", "ended")
    assert process.end() == []


def test_a_signal_does_not_kill_hypercorns_worker_at_its_work(start):
    process = start(HYPERCORN)
    process.expect("armed")
    process.tell()
    process.expect("shutting down", "working")
    process.signal()  # from its parent, when another worker has ended
    process.signal()
    process.tell()
    process.expect("worked", "ended")
    assert process.end() == []


def test_a_signal_for_hypercorns_worker_is_held_back_too(start):
    """It has no handler, so the signal would be its end."""
    process = start(HYPERCORN.replace("utils.told = told", "utils.told = asyncio.Event().wait"))
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked")
    assert process.end(-signal.SIGTERM) == []


def test_a_signal_for_all_of_hypercorns_processes_leaves_the_worker_to_its_parent(start):
    process = start(HYPERCORN)
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()  # one of them reads it: the parent's word, or the end of the work
    process.tell()
    lines = process.end()
    assert sorted(lines) == ["ended", "shutting down", "worked"]


def test_a_signal_for_all_of_hypercorns_processes_waits_for_the_parents_word_after_the_work(start):
    """The worker has drained before it sees what its parent has seen, and still ends its way."""
    process = start(HYPERCORN.replace("utils.told = told", "utils.told = lambda: worked.wait()"))
    process.expect("armed")
    process.signal()
    process.expect("working")
    process.tell()
    process.expect("worked", "shutting down", "ended")
    assert process.end() == []


def test_a_program_that_goes_on_after_hypercorn_has_its_signal_back(start):
    script = HYPERCORN.replace("parent_process = object", "parent_process = lambda: None")
    process = start(
        script
        + """
    signal.raise_signal(TERM)
    """
    )
    process.expect("armed")
    process.tell()
    process.expect("shutting down", "working")
    process.tell()
    process.expect("worked", "ended")
    assert process.end(-signal.SIGTERM) == []


# In this process


@pytest.fixture
def sigterm():
    """A handler of SIGTERM that notes its calls."""
    calls = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    calls.append(signal.getsignal(signal.SIGTERM))
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    yield calls
    assert signal.getsignal(signal.SIGTERM) is calls[0]
    signal.signal(signal.SIGTERM, before)
    assert signal.set_wakeup_fd(descriptor) == descriptor


async def nothing():
    pass


def test_event_loops_that_watch_no_sockets_are_left_alone(sigterm):
    """As on Windows, where they end without draining."""

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *arguments):
            if arguments[0] is not self._ssock and self.is_running():
                raise NotImplementedError
            return super().add_reader(*arguments)

    async def arm():
        Termination().arm(nothing)
        assert signal.getsignal(signal.SIGTERM) is sigterm[0]

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(arm())


def test_a_closed_loop_is_left_when_another_one_begins(sigterm):
    """So that no file descriptor which is closed some day gets signals written to it."""
    here = []

    async def arm():
        here.append(Connections())
        here[0].termination = Termination()
        here[0].termination.arm(nothing)
        assert signal.getsignal(signal.SIGTERM) is not sigterm[0]

    asyncio.run(arm())
    threading.Thread(target=here[0].abandon).start()  # where nothing can be done about it
    assert signal.getsignal(signal.SIGTERM) is not sigterm[0]
    here[0].abandon()
    assert signal.getsignal(signal.SIGTERM) is sigterm[0]
    here[0].abandon()
    Connections.abandon(here[0])


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_signal_in_the_middle_of_disarming_reaches_the_server(sigterm, monkeypatch, moment):
    """Handlers are called between any two lines. Not twice, and not for ever."""
    one, set_handler = Termination(), signal.signal
    one.arm(nothing)
    one._task = asyncio.create_task(nothing())
    monkeypatch.setattr(termination, "_ECHO", -1)

    def interrupted(number, handler):
        monkeypatch.setattr(signal, "signal", set_handler)
        if moment == "before":
            signal.raise_signal(signal.SIGTERM)
        result = set_handler(number, handler)
        if moment == "after":
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(signal, "signal", interrupted)
    one.disarm()
    assert sigterm[1:] == [signal.SIGTERM]


async def test_a_closed_wakeup_descriptor_is_no_error(sigterm):
    one = Termination()
    one.arm(nothing)
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    one._wakeup = writing
    one._sockets[1].send(bytes((signal.SIGUSR1, signal.SIGTERM)))
    one._forward()
    one._forward()  # with nothing to read
    one._wakeup = -1
    one.disarm()
    one._forward()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert len(sigterm) == 1  # which is the handler; no signal has been raised


async def test_a_handler_that_was_installed_meanwhile_finds_nobody_behind_it(sigterm, monkeypatch):
    """It calls what was there before, which by then has nobody to call."""

    class TellsItsWorkers(termination.servers.Shutdown):
        by_signal = False

    def watch(loop, begins):
        return TellsItsWorkers()

    monkeypatch.setattr(termination.servers, "watch_shutdown", watch)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    one, heard = Termination(), []
    one.arm(nothing)
    armed = signal.getsignal(signal.SIGTERM)

    def meanwhile(number, frame):
        heard.append(number)
        armed(number, frame)

    signal.signal(signal.SIGTERM, meanwhile)
    one.disarm()
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is meanwhile
    signal.signal(signal.SIGTERM, sigterm[0])
