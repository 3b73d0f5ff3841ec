"""A process that receives, for tests of schedules: ``python -m tests.faults.scheduling PORT``.

It reads the named channel ``jobs`` and the group ``room``, notes each message at the server, in the
list ``got`` of the prefix, and says that it is ready.
"""

import argparse
import asyncio
import json
import sys

import django

from .peer import turn_clock


async def note(layer, redis, channel):
    while True:
        message = await layer.receive(channel)
        await redis.rpush(f"{layer.prefix}:got", json.dumps(message))


async def serve(arguments):
    from .harness import GROUP, make_layer

    layer = make_layer(("127.0.0.1", arguments.port), prefix=arguments.prefix, expiry=600)
    channel = await layer.new_channel()
    if arguments.member:
        await layer.group_add(GROUP, channel)
    async with layer.connection(0) as redis:
        reading = [note(layer, redis, name) for name in ("jobs", channel)]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.gather(*reading)


async def add(arguments):
    """Schedule so many messages, say so, and wait to be killed."""
    from .harness import make_layer

    layer = make_layer(("127.0.0.1", arguments.port), prefix=arguments.prefix)
    for number in range(arguments.schedule):
        await layer.send_later("jobs", {"type": "t", "n": number}, delay=0.3)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("prefix")
    parser.add_argument("--clock", type=float, default=0)
    parser.add_argument("--member", action="store_true")
    parser.add_argument("--lease", type=float, default=15)
    parser.add_argument("--schedule", type=int, default=0)
    arguments = parser.parse_args()
    turn_clock(arguments.clock)
    django.setup()
    from channels.layers.broker import delayed
    from channels.layers.redis import schedule as redis_schedule

    redis_schedule.CLAIM_LEASE = arguments.lease
    delayed._BEGINNING = delayed._SENDING = arguments.lease / 3
    asyncio.run(add(arguments) if arguments.schedule else serve(arguments))


if __name__ == "__main__":
    main()
