"""Another process, for the tests to talk to and to kill: ``python -m tests.faults.peer``.

It joins the group ``room``, says the name of its channel, and answers what comes there through
the named channel ``answers``.
"""

import argparse
import asyncio
import json
import sys
import time

import django


def turn_clock(seconds):
    """Let this process believe that it is another time."""
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)


async def serve(port, options):
    from .harness import GROUP, make_layer

    layer = make_layer(("127.0.0.1", port), **options)
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    sys.stdout.write(f"{channel}\n")
    sys.stdout.flush()
    while True:
        message = await layer.receive(channel)
        await layer.send("answers", message)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--clock", type=float, default=0)
    parser.add_argument("--options", type=json.loads, default={})
    arguments = parser.parse_args()
    turn_clock(arguments.clock)
    django.setup()
    asyncio.run(serve(arguments.port, arguments.options))


if __name__ == "__main__":
    main()
