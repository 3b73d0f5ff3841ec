"""Programs without an event loop of their own that send: ``callers.py PROGRAM PORT [ARGUMENTS]``.

Each runs in a process of its own, so that its exit can be watched as well.
"""

import asyncio
import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import django
from asgiref.sync import async_to_sync
from django.conf import settings

from tests.ports import free_port

QUEUE = "queue"
HERE = "tests.integration.callers"


def configure(port):
    settings.configure(
        CHANNEL_LAYERS={
            "default": {
                "BACKEND": os.environ.get("BACKEND", "channels_redis.core.RedisChannelLayer"),
                "CONFIG": {"hosts": [("127.0.0.1", int(port))], "capacity": 100_000},
            }
        },
        INSTALLED_APPS=["channels"],
    )
    django.setup()


def by_facade(sender, number):
    from channels.layers import get_sync_channel_layer

    get_sync_channel_layer().send(QUEUE, message(sender, number))


def by_async_to_sync(sender, number):
    from channels.layers import get_channel_layer

    async_to_sync(get_channel_layer().send)(QUEUE, message(sender, number))


def message(sender, number):
    return {"type": "test.message", "sender": sender, "n": number}


def tell(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


WAYS = {"facade": by_facade, "async_to_sync": by_async_to_sync}


def threads(way, count, calls):
    """Many threads send many messages each."""

    def work(sender):
        for number in range(int(calls)):
            WAYS[way](sender, number)

    pool = [threading.Thread(target=work, args=(sender,)) for sender in range(int(count))]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()


def connections(pid, port):
    """The TCP connections of a process to a port, by the kernel's names for them."""
    table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    inodes = {row[9] for row in map(str.split, table) if row[2].endswith(f":{int(port):04X}")}
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(link.readlink()))
    return {f"socket:[{inode}]" for inode in inodes} & found


def own_connections():
    return connections(os.getpid(), PORT)


def fork(way):
    """A parent that has sent forks, as a server of workers does; both go on sending."""
    send = WAYS[way]
    send("parent", 0)
    parents = own_connections()
    assert len(parents) == 1, parents
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        shared = own_connections() & parents
        assert not shared, shared
        send("child", 0)
        threads(way, 4, 5)
        assert not own_connections() & parents
        os.write(write, b".")
        time.sleep(0.2)  # lives on while the parent sends
        sys.exit(0)
    os.close(write)
    os.read(read, 1)
    for number in range(1, 4):
        send("parent", number)
    assert own_connections() == parents, "the parent's connection was replaced"
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    send("parent", 4)


def fork_while_sending(way):
    """Forks again and again while other threads of the parent are in the middle of sending."""
    send = WAYS[way]
    send("children", 0)  # imports all there is; a fork in the middle of that Python cannot heal
    over = threading.Event()
    sent = [0] * 4

    def work(sender):
        while not over.is_set():
            send(f"parent {sender}", sent[sender])
            sent[sender] += 1

    pool = [threading.Thread(target=work, args=(sender,)) for sender in range(4)]
    for thread in pool:
        thread.start()
    for number in range(1, 10):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            send("children", number)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, (number, status)
    over.set()
    for thread in pool:
        thread.join()
    tell(sum(sent))


def child(port, way, number):
    """What a process started by multiprocessing does."""
    if not settings.configured:
        configure(port)
    WAYS[way]("child", number)


def processes(way, method):
    """A parent that has sent starts processes that send, one after the other."""
    WAYS[way]("parent", 0)
    context = multiprocessing.get_context(method)
    for number in range(2):
        process = context.Process(target=child, args=(PORT, way, number))
        process.start()
        process.join()
        assert process.exitcode == 0
    WAYS[way]("parent", 1)


def exit_after(way):
    """Sends, and is done."""
    WAYS[way]("main", 0)


def exit_while_reading():
    """Leaves with a channel open, whose inbox is being read."""
    from channels.layers import get_sync_channel_layer

    layer = get_sync_channel_layer()
    name = layer.new_channel()
    layer.group_add("group", name)
    layer.group_send("group", message("main", 0))
    assert layer.receive(name, timeout=10) == message("main", 0)


def exit_with_daemon():
    """Leaves while a daemon thread has a message under way."""
    started = threading.Event()

    def work():
        from channels._runtime.loops import bridge
        from channels.layers import get_channel_layer

        async def late():
            started.set()
            await asyncio.sleep(0.2)
            await get_channel_layer().send(QUEUE, message("daemon", 0))

        bridge.call(late())

    threading.Thread(target=work, daemon=True).start()
    started.wait()


def exit_with_thread():
    """Leaves while a thread has yet to send, for which Python waits.

    It has sent before: from Python 3.12 on, no thread can be started then, nor the bridge's.
    """
    by_facade("main", 0)

    def work():
        threading.main_thread().join()
        by_facade("thread", 0)

    threading.Thread(target=work).start()


def exit_with_handler(way):
    """Sends at the very end."""
    WAYS[way]("main", 0)
    atexit.register(by_facade, "main", 1)


def exit_without_broker():
    """Gives up sending, and leaves."""
    from channels.layers import get_sync_channel_layer
    from channels.layers.sync import CallTimeout

    try:
        get_sync_channel_layer(timeout=0.2).send(QUEUE, message("main", 0))
    except CallTimeout as error:
        tell(type(error).__name__)


def asyncio_run():
    """Old code that makes an event loop for each call."""
    from channels.layers import get_channel_layer

    for number in range(3):
        asyncio.run(get_channel_layer().send(QUEUE, message("main", number)))


def interrupted(way):
    """Waits for a broker that does not answer, until somebody presses Control-C."""
    # A shell that starts the tests in the background has SIGINT ignored; so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tell("ready")
    try:
        WAYS[way]("main", 0)
    except KeyboardInterrupt:
        tell("interrupted")


def view_server(kind):
    """A threaded WSGI server, with a thread for each request."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            pass

    settings.ROOT_URLCONF = "tests.integration.site"
    settings.ALLOWED_HOSTS = ["*"]
    port = free_port()
    server = ThreadedWSGIServer(("127.0.0.1", port), Quiet)
    server.set_app(WSGIHandler())
    tell(port)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.01)
    server.server_close()


if __name__ == "__main__":
    program, PORT, *arguments = sys.argv[1:]
    configure(PORT)
    globals()[program](*arguments)
