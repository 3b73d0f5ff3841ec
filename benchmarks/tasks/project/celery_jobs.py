"""The tasks for Celery, and its application."""

import os

import jobs
from celery import Celery

app = Celery("celery_jobs", broker=os.environ["BENCHMARK_REDIS"])
if os.environ.get("BENCHMARK_RESULTS"):
    app.conf.result_backend = os.environ["BENCHMARK_REDIS"]
else:
    app.conf.task_ignore_result = True
if os.environ.get("BENCHMARK_AT_LEAST_ONCE"):
    app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = True


@app.task
def mark(sent: int) -> None:
    jobs.mark(sent)


@app.task
def hold(sent: int, seconds: float) -> None:
    jobs.hold(sent, seconds)


ENQUEUE = {"mark": mark.delay, "hold": hold.delay}
