import os
import time

from asgiref.sync import async_to_sync
from celery import shared_task
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import transaction

from channels.contrib.progress import Progress
from channels.exceptions import BrokerError
from channels.layers import get_channel_layer, get_sync_channel_layer, group_send_on_commit


def by_facade(group, message):
    get_sync_channel_layer().group_send(group, message)


def by_async_to_sync(group, message):
    async_to_sync(get_channel_layer().group_send)(group, message)


def on_commit(group, message):
    with transaction.atomic():
        group_send_on_commit(group, message)


WAYS = [by_facade, by_async_to_sync, on_commit]


def report(sender, number, **content):
    return {"type": "report", "sender": sender, "n": number, "pid": os.getpid(), **content}


@shared_task
def send(group, sender, count, way):
    """Send so many messages to a group, in one way."""
    for number in range(count):
        globals()[way](group, report(sender, number))


@shared_task
def answer(channel, sender):
    """Send to the one consumer that asked."""
    get_sync_channel_layer().send(channel, report(sender, 0))


@shared_task
def one_of_many(group, number):
    """Send one message, in one of the ways, as most tasks do."""
    WAYS[number % len(WAYS)](group, report("many", number))


@shared_task(bind=True, autoretry_for=(BrokerError,), retry_backoff=1, retry_jitter=False)
def insist(self, group, sender):
    """A task that Celery repeats while the broker of the layer is away."""
    by_facade(group, report(sender, 0, retries=self.request.retries))


@shared_task
def send_until_stopped(group, sender, way):
    """Send on and on, until Celery's soft time limit strikes; then say how far it came."""
    number = 0
    try:
        while True:
            globals()[way](group, report(sender, number))
            number += 1
    except SoftTimeLimitExceeded:
        by_facade(group, report(sender, number, stopped=True))


@shared_task
def send_slowly(group, sender, count):
    """Send so many messages, with pauses."""
    for number in range(count):
        by_facade(group, report(sender, number))
        time.sleep(0.01)


@shared_task(bind=True, max_retries=1)
def work(self, group):
    """Report progress, and be tried again for once, half-way."""
    with Progress(self.request.id, group=group, interval=0.05, retry_on=(Retry,)) as progress:
        for step in progress.track(range(100)):
            if step == 50 and not self.request.retries:
                raise self.retry(countdown=0)
            time.sleep(0.005)
