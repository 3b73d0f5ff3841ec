"""Tasks that worker processes of tests run, which note in Redis what they do."""

import asyncio
import os
import signal
import time
from functools import cache

import redis
from asgiref.sync import sync_to_async
from django.conf import settings

from channels.contrib.tasks.compat import task


@cache
def client():
    return redis.Redis.from_url(settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0])


def note(what):
    client().rpush("noted", what)


@task
def write(name):
    note(name)


@task
def work(number, seconds):
    client().hincrby("begun", number, 1)
    time.sleep(seconds)
    client().hincrby("done", number, 1)
    return number


@task
async def awork(number, seconds):
    await sync_to_async(client().hincrby)("begun", number, 1)
    await asyncio.sleep(seconds)
    await sync_to_async(client().hincrby)("done", number, 1)
    return number


@task(takes_context=True)
def hang_at_first(context, number):
    client().hincrby("begun", number, 1)
    if context.attempt == 1:
        time.sleep(600)


@task(takes_context=True)
async def ahang_at_first(context, number):
    await sync_to_async(client().hincrby)("begun", number, 1)
    if context.attempt == 1:
        await asyncio.sleep(600)


@task
def kill_the_worker():
    note("killing")
    os.kill(os.getpid(), signal.SIGKILL)


@task
async def block_the_event_loop(seconds):
    note("blocks")
    time.sleep(seconds)


@task
def nothing():
    pass


@task
async def anothing():
    pass
