"""Tasks that the tests enqueue, and what they have done."""

import asyncio
import contextvars
import sys
import threading

from asgiref.sync import sync_to_async
from django.db import connection

from channels.contrib.tasks.compat import task
from channels.layers.carriers import received

#: What has run, in its order.
ran = []

#: Set by a test to let tasks that wait go on.
release = threading.Event()

variable = contextvars.ContextVar("variable", default="fresh")


@task
def add(a, b=0):
    return a + b


@task
async def aadd(a, b=0):
    await asyncio.sleep(0)
    return a + b


@task
def note(name):
    ran.append(name)


@task
async def anote(name):
    ran.append(name)


@task
def fail(text="no"):
    raise ValueError(text)


@task
async def afail(text="no"):
    raise ValueError(text)


@task(takes_context=True)
def fail_until(context, attempt):
    if context.attempt < attempt:
        raise LookupError(f"attempt {context.attempt}")
    return context.attempt


@task(takes_context=True)
async def describe(context, *args, **kwargs):
    result = context.task_result
    return [result.id, str(result.status), result.args, result.kwargs, len(result.worker_ids)]


@task
def give(what):
    return {"set": {1}, "object": object(), "bytes": b"\xff", "tuple": (1, 2), "big": 2**70,
            "half": "\ud800", "text": b"text"}[what]  # fmt: skip


@task
def give_large(size):
    return "x" * size


@task
def leave():
    sys.exit("out")


@task
async def cancel_itself():
    inner = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


@task
def stop_iteration():
    next(iter(()))


@task
def wait():
    ran.append("waits")
    assert release.wait(30)
    ran.append("waited")
    return "waited"


@task
async def await_release():
    ran.append("waits")
    while not release.is_set():
        await asyncio.sleep(0.001)
    return "waited"


@task
async def await_for_ever():
    ran.append("waits")
    await asyncio.sleep(600)


@task
def raise_local():
    class Local(Exception):
        pass

    raise Local


@task
def time_out():
    raise TimeoutError("of its own")


@task
async def atime_out():
    raise TimeoutError("of its own")


@task
def context_variable():
    before = variable.get()
    variable.set("used")
    return before


#: Workers that a task is to stop.
workers = {}


@task
async def stop_worker():
    workers.pop("here").stop()


@task
async def query():
    """Query the database as asynchronous code does, and leave the connection unusable."""

    def run():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.errors_occurred = True
        return connection.connection is not None

    return await sync_to_async(run)()


def plain():
    """No task."""


@task
def sees():
    return dict(received())


@task
async def asees():
    return dict(received())
