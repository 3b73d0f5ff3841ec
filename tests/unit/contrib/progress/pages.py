"""Pages that watch jobs, and jobs for them."""

from django.contrib.auth import SESSION_KEY

from channels.contrib.progress import (
    Job,
    JobState,
    ProgressConsumer,
    ProgressSseConsumer,
)
from channels.contrib.progress.job import job_group, job_message, revision_of, user_group
from channels.contrib.progress.store import Jobs
from channels.layers import get_channel_layer
from channels.testing import ApplicationCommunicator, WebsocketCommunicator


class User:
    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


class Anonymous:
    is_authenticated = False


class Session:
    """One that has been loaded."""

    def __init__(self, user):
        self._session_cache = {SESSION_KEY: str(user)}


ALICE, BOB = User(1), User(2)


def websocket(user=ALICE, job=None, consumer=ProgressConsumer):
    client = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    if user is not None:
        client.scope["user"] = user
    client.scope["url_route"] = {"args": (), "kwargs": {} if job is None else {"job": job}}
    return client


def events(user=ALICE, job=None, consumer=ProgressSseConsumer):
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "user": user}
    scope["url_route"] = {"args": (), "kwargs": {} if job is None else {"job": job}}
    return ApplicationCommunicator(consumer.as_asgi(), scope)


async def publish(job):
    """Keep a state and tell the groups, as a reporter does."""
    layer = get_channel_layer()
    await Jobs(layer).beat(job.id, 60, job.revision)
    await Jobs(layer).save(job, 60)
    await Jobs(layer).list(job, 1, 60)
    await tell(job)


async def tell(job):
    layer = get_channel_layer()
    await layer.group_send(job_group(job.id), job_message(job))
    if job.owner is not None:
        await layer.group_send(user_group(job.owner), job_message(job))


def running(job_id, report=1, *, attempt=1, owner="1", **values):
    state = values.pop("state", JobState.RUNNING)
    revision = revision_of(attempt, report)
    return Job(id=job_id, state=state, owner=owner, revision=revision, **values)


async def told(client, count=1):
    """What the page is told next: the state and the text of each."""
    found = [await client.receive_json_from(timeout=5) for _ in range(count)]
    return [(content.get("state", content["type"]), content.get("text")) for content in found]
