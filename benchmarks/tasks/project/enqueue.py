"""Enqueues tasks, and prints what that cost, as JSON.

Usage: ``python enqueue.py MODULE TASK COUNT PAUSE [ARGUMENT]``, with seconds between two tasks.
Ten more are enqueued first, for all that happens once.
"""

import importlib
import json
import sys
import time

import jobs

module, name, count, pause, *arguments = sys.argv[1:]
enqueue = importlib.import_module(module).ENQUEUE[name]
given = [float(argument) for argument in arguments]
for _ in range(0 if name == "hold" else 10):
    enqueue(jobs.stamp(), *given)
started, cpu = time.perf_counter(), time.process_time()
for _ in range(int(count)):
    enqueue(jobs.stamp(), *given)
    if float(pause):
        time.sleep(float(pause))
took, cpu = time.perf_counter() - started, time.process_time() - cpu
print(json.dumps({"seconds": took, "cpu_seconds": cpu}))
