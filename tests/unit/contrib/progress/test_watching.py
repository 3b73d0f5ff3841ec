"""Who may see a job, silent jobs, and users that are there no more."""

import asyncio

import pytest

from channels.contrib.progress import (
    JobState,
    ProgressConsumer,
    watching,
)
from channels.contrib.progress.job import job_group, job_message, revision_of, user_group
from channels.contrib.progress.store import Jobs
from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, get_channel_layer

from ....asgi import until
from .helpers import Failing, WithoutGroups, unique
from .pages import ALICE, BOB, Anonymous, Session, events, publish, running, told, websocket

# Who may see it


@pytest.mark.parametrize("user", [None, Anonymous(), BOB])
@pytest.mark.parametrize("there", [True, False])
async def test_others_are_not_told_whether_there_is_such_a_job(user, there):
    job_id = unique()
    if there:
        await publish(running(job_id))
    client = websocket(user, job_id)
    assert await client.connect() == (True, None)
    code = 4404 if user is BOB else 4401
    assert await client.receive_output() == {"type": "websocket.close", "code": code}
    await client.disconnect(code)
    stream = events(user, job_id)
    await stream.send_input({"type": "http.request", "body": b""})
    assert (await stream.receive_output())["status"] == (404 if user is BOB else 403)
    await stream.wait()


async def test_nobody_sees_a_job_without_an_owner():
    job_id = unique()
    await publish(running(job_id, owner=None))
    for user, code in ((ALICE, 4404), (Anonymous(), 4401)):
        client = websocket(user, job_id)
        await client.connect()
        assert (await client.receive_output())["code"] == code
        await client.disconnect(code)


async def test_a_job_that_changes_hands_while_a_page_comes(use_layer):
    class Slow(InMemoryChannelLayer):
        """It is somebody else's when the page has joined its group."""

        immediate = frozenset()

        async def group_add(self, group, channel):
            await super().group_add(group, channel)
            await Jobs(self).save(running(job_id, attempt=2, owner="2"), 60)

    job_id = unique()
    use_layer(Slow())
    await publish(running(job_id))
    client = websocket(ALICE, job_id)
    await client.connect()
    assert (await client.receive_output())["code"] == 4404
    await client.disconnect(4404)


async def test_without_a_job_who_is_not_signed_in_sees_nothing():
    client = websocket(Anonymous())
    await client.connect()
    assert (await client.receive_output())["code"] == 4401
    await client.disconnect(4401)


async def test_a_route_may_convert_the_name():
    await publish(running("17", text="int"))
    async with websocket(ALICE, 17) as client:
        assert await told(client) == [("running", "int")]


@pytest.mark.parametrize("job_id", ["a b", "x" * 65, "ä"])
async def test_what_is_no_name_is_no_job(job_id):
    client = websocket(ALICE, job_id)
    await client.connect()
    assert (await client.receive_output())["code"] == 4404
    await client.disconnect(4404)


class Everybody(ProgressConsumer):
    def may_see(self, job):
        return job.title != "Secret"


class Team(ProgressConsumer):
    async def may_see(self, job):
        await asyncio.sleep(0)
        return job.group == "team"

    groups = ["team"]


async def test_projects_decide_who_may_see_a_job():
    job_id = unique()
    await publish(running(job_id, owner=None, text="for all"))
    async with websocket(Anonymous(), job_id, Everybody) as client:
        assert await told(client) == [("running", "for all")]


async def test_a_project_may_hide_jobs_of_a_user():
    await publish(running(unique(), title="Secret"))
    await publish(running(unique(), text="shown"))
    async with websocket(ALICE, None, Everybody) as client:
        assert await told(client) == [("running", "shown")]


async def test_jobs_of_a_group():
    async with websocket(BOB, None, Team) as client:
        for group, text in (("other", "no"), ("team", "yes")):
            job = running(unique(), group=group, text=text)
            await get_channel_layer().group_send("team", job_message(job))
        assert await told(client) == [("running", "yes")]


async def test_a_job_that_becomes_somebody_elses_is_shown_no_more():
    job_id, other = unique(), unique()
    await publish(running(job_id, text="alices"))
    client = websocket(ALICE, job_id)
    await client.connect()
    assert await told(client) == [("running", "alices")]
    await publish(running(job_id, attempt=2, owner="2", text="bobs"))
    assert await client.receive_output() == {"type": "websocket.close", "code": 4404}
    await client.disconnect(4404)
    await publish(running(other, text="alices"))
    async with websocket(ALICE) as client:
        await told(client)
        await client.send_json_to({"watch": other})
        await told(client)
        await publish(running(other, attempt=2, owner="2", text="bobs"))
        assert await told(client) == [("refused", None)]


# Looking at silent jobs


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(watching.Watching, "look_interval", 0.05)


async def test_a_job_whose_reporter_has_died_is_told_as_lost_and_found_again(quick):
    job_id = unique()
    layer = get_channel_layer()
    await publish(running(job_id, text="one"))
    async with websocket(job=job_id) as client:
        assert await told(client) == [("running", "one")]
        await layer.delete_state(job_group(job_id), "alive")
        assert await told(client) == [("lost", "one")]
        await Jobs(layer).beat(job_id, 60, revision_of(1, 1))
        assert await told(client) == [("running", "one")]
        await layer.delete_state(job_group(job_id), "state")
        assert await told(client) == [("lost", "one")]


async def test_a_message_that_was_lost_is_made_up_for(quick):
    job_id = unique()
    await publish(running(job_id, text="one"))
    async with websocket(job=job_id) as client:
        assert await told(client) == [("running", "one")]
        await Jobs(get_channel_layer()).save(running(job_id, 2, state=JobState.FINISHED), 60)
        assert await told(client) == [("finished", "")]


async def test_after_a_gap_the_page_is_told_at_once():
    job_id = unique()
    layer = get_channel_layer()
    await publish(running(job_id, text="one"))
    async with websocket(job=job_id) as client:
        await told(client)
        await Jobs(layer).save(running(job_id, 2, text="two"), 60)
        await layer.group_send(job_group(job_id), {"type": "layer.gap", "reason": "as if"})
        assert await told(client) == [("running", "two")]


async def test_only_jobs_that_go_on_are_looked_at(use_layer):
    class Counting(InMemoryChannelLayer):
        read = ()
        immediate = frozenset()

        async def get_states(self, collection):
            self.read = (*self.read, collection)
            return await super().get_states(collection)

    layer, ended, goes_on = use_layer(Counting()), unique(), unique()
    await publish(running(ended, state=JobState.FINISHED))
    await publish(running(goes_on))
    async with websocket() as client:
        await told(client, 2)
        await Jobs(layer).save(running(goes_on, 2, text="two"), 60)
        layer.read = ()
        await layer.group_send(user_group("1"), {"type": "layer.gap", "reason": "as if"})
        assert await told(client) == [("running", "two")]
        assert layer.read == (job_group(goes_on),)


async def test_a_job_that_the_page_leaves_while_it_is_looked_at_is_not_told(quick, use_layer):
    class Slow(InMemoryChannelLayer):
        immediate = frozenset()
        reading = waiting = None

        async def get_states(self, collection):
            found = await super().get_states(collection)
            if self.waiting is not None and collection == self.waiting:
                self.waiting, self.reading = None, asyncio.Event()
                await self.reading.wait()
            return found

    layer, one, two = use_layer(Slow()), unique(), unique()
    await publish(running(one, text="one"))
    await publish(running(two, text="two"))
    async with websocket(ALICE, one) as client:
        await told(client)
        await client.send_json_to({"watch": two})
        await told(client)
        await Jobs(layer).save(running(one, 2, text="not told"), 60)
        layer.waiting = job_group(one)
        await until(lambda: layer.reading)
        await client.send_json_to({"unwatch": one})
        await client.send_json_to({"watch": "no job"})
        assert await told(client) == [("refused", None)]
        layer.reading.set()
        await Jobs(layer).save(running(two, 2, text="two again"), 60)
        assert await told(client) == [("running", "two again")]


async def test_an_attempt_after_the_broker_has_lost_its_data_is_shown(quick):
    job_id = unique()
    await publish(running(job_id, attempt=3, text="third"))
    async with websocket(job=job_id) as client:
        await told(client)
        for field in ("state", "alive"):
            await get_channel_layer().delete_state(job_group(job_id), field)
        assert await told(client) == [("lost", "third")]
        await publish(running(job_id, attempt=1, text="first again"))
        assert await told(client) == [("running", "first again")]


async def test_a_broker_that_is_down_does_not_end_the_connection(quick, use_layer, caplog):
    job_id = unique()
    layer = use_layer(Failing())
    layer.down = False
    await publish(running(job_id, text="one"))
    async with websocket(job=job_id) as client:
        await told(client)
        layer.down = True
        await until(lambda: "Could not look at silent jobs (ConnectionError" in caplog.text)
        layer.down = False
        await publish(running(job_id, 2, text="two"))
        assert await told(client) == [("running", "two")]


async def test_rubbish_from_the_layer_is_ignored(caplog):
    job_id = unique()
    await publish(running(job_id, text="one"))
    async with websocket(job=job_id) as client:
        await told(client)
        for rubbish in ({"type": "progress.report"}, job_message(running("another"))):
            await get_channel_layer().group_send(job_group(job_id), rubbish)
        await publish(running(job_id, 2, text="two"))
        assert await told(client) == [("running", "two")]
    assert "Ignored a report: This is no job" in caplog.text


async def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(watching, "_REMEMBERED", 2)
    ended = JobState.FINISHED
    async with websocket() as client:
        for n, state in enumerate(
            (JobState.RUNNING, ended, ended, JobState.RUNNING, JobState.RUNNING)
        ):
            await publish(running(f"n{n}", state=state, text=str(n)))
            assert await told(client) == [(state.value, str(n))]


# Users


async def test_a_user_that_has_signed_out_sees_no_more(quick, monkeypatch):
    users = iter([ALICE, Anonymous()])

    async def get_user(scope):
        assert scope["type"] == "websocket"
        return next(users)

    monkeypatch.setattr(watching, "get_user", get_user)
    monkeypatch.setattr(watching.Watching, "check_user_interval", 0.0)
    client = websocket()
    client.scope["session"] = Session(user=1)
    await client.connect()
    assert (await client.receive_output(timeout=5))["code"] == 4401
    await client.disconnect(4401)


@pytest.mark.parametrize("session", [None, Session(user=2), object()])
async def test_a_user_that_no_session_tells_stays(quick, monkeypatch, session):
    """A token, or another middleware, says who it is."""
    monkeypatch.setattr(watching.Watching, "check_user_interval", 0.0)
    job_id = unique()
    await publish(running(job_id))
    client = websocket(job=job_id)
    if session is not None:
        client.scope["session"] = session
    async with client:
        await told(client)
        await get_channel_layer().delete_state(job_group(job_id), "alive")
        assert await told(client) == [("lost", "")]


async def test_a_stream_of_a_user_that_has_signed_out_ends(quick, monkeypatch):
    async def get_user(scope):
        return Anonymous()

    monkeypatch.setattr(watching, "get_user", get_user)
    monkeypatch.setattr(watching.Watching, "check_user_interval", 0.0)
    client = events()
    client.scope["session"] = Session(user=1)
    await client.send_input({"type": "http.request", "body": b""})
    messages = [{}]
    async with asyncio.timeout(5):
        while messages[-1].get("more_body", True):
            messages.append(await client.receive_output(timeout=5))
    await client.wait()
    assert messages[-1]["type"] == "http.response.body"


@pytest.mark.parametrize("layer", [WithoutGroups, None])
async def test_a_layer_with_groups_is_needed(use_layer, layer):
    class Layerless(ProgressConsumer):
        async def _channels_open_channel(self, wake):
            self.channel_layer = layer and layer()

    client = websocket(consumer=Layerless)
    with pytest.raises(InvalidChannelLayerError, match="doesn't support groups"):
        await client.connect()
