"""What pages are told of jobs, in which order, and what they ask for."""

import json

import pytest

from channels.contrib.progress import (
    JobState,
    Progress,
    ProgressConsumer,
    aannounce,
)
from channels.layers import InMemoryChannelLayer

from .helpers import unique
from .pages import ALICE, events, publish, running, tell, told, websocket

# What a page is told


async def test_who_comes_late_or_again_is_told_the_last_state():
    job_id = unique()
    for attempt in (1, 2):
        await publish(running(job_id, 7, text="seven", attempt=attempt))
        async with websocket(job=job_id) as client:
            assert await told(client) == [("running", "seven")]
            await publish(running(job_id, 8, text="eight", attempt=attempt))
            assert await told(client) == [("running", "eight")]


async def test_no_older_state_after_a_newer_one():
    job_id = unique()
    await publish(running(job_id, 5, text="five", attempt=2))
    async with websocket(job=job_id) as client:
        assert await told(client) == [("running", "five")]
        for old in (
            running(job_id, 5, attempt=2),
            running(job_id, 4, attempt=2),
            running(job_id, 9),
        ):
            await tell(old)
        await tell(running(job_id, 6, text="six", attempt=2))
        assert await told(client) == [("running", "six")]


async def test_what_is_reported_while_a_page_comes_is_told_after_the_state(use_layer):
    class Slow(InMemoryChannelLayer):
        """Something is reported after the state was read, and before the page has it."""

        immediate = frozenset()
        job = None

        async def get_states(self, collection):
            found = await super().get_states(collection)
            if self.job is not None and self.groups:
                job, self.job = self.job, None
                await tell(job)
            return found

    job_id = unique()
    layer = use_layer(Slow())
    await publish(running(job_id, 1, text="one"))
    layer.job = running(job_id, 2, text="two")
    async with websocket(job=job_id) as client:
        assert await told(client, 2) == [("running", "one"), ("running", "two")]


async def test_all_jobs_of_a_user_and_no_others():
    jobs = {name: unique() for name in ("one", "two", "bobs", "new")}
    for name in ("one", "two"):
        await publish(running(jobs[name], text=name))
    await publish(running(jobs["bobs"], owner="2", text="bobs"))
    async with websocket() as client:
        assert sorted(await told(client, 2)) == [("running", "one"), ("running", "two")]
        await publish(running(jobs["bobs"], 2, owner="2", text="bobs"))
        await publish(running(jobs["new"], text="new"))
        assert await told(client) == [("running", "new")]


async def test_a_whole_job_as_a_page_sees_it():
    job_id = await aannounce(user=ALICE, title="Import", total=4)
    async with websocket(job=job_id) as client:
        first = await client.receive_json_from()
        assert (first["type"], first["job"], first["state"]) == ("progress", job_id, "queued")
        async with Progress(job_id, interval=0.01) as progress:
            progress.advance(2, "Half")
            await until_told(client, lambda content: content["percent"] == 50)
            progress.finish({"url": "/imports/17/"})
        last = await until_told(client, lambda content: content["state"] == "finished")
        assert (last["result"], last["title"]) == ({"url": "/imports/17/"}, "Import")
        assert "owner" not in last


async def until_told(client, condition):
    while not condition(content := await client.receive_json_from(timeout=5)):
        pass
    return content


async def test_events_of_a_stream():
    job_id = unique()
    await publish(running(job_id, text="one"))
    client = events(job=job_id)
    await client.send_input({"type": "http.request", "body": b""})
    assert (await client.receive_output())["status"] == 200
    assert b"event: progress" in (await next_event(client))
    await publish(running(job_id, 2, text="two", state=JobState.FAILED))
    event = await next_event(client)
    data = json.loads(event.partition(b"data: ")[2].strip())
    assert (data["job"], data["state"], data["text"]) == (job_id, "failed", "two")
    await client.send_input({"type": "http.disconnect"})
    await client.wait()


async def next_event(client):
    while b"event:" not in (body := (await client.receive_output(timeout=5))["body"]):
        pass
    return body


# What pages ask for


async def test_a_page_asks_for_more_jobs():
    one, two, bobs = unique(), unique(), unique()
    await publish(running(one, text="one"))
    await publish(running(two, text="two"))
    await publish(running(bobs, owner="2"))
    async with websocket(ALICE, one) as client:
        assert await told(client) == [("running", "one")]
        for name, answer in (
            (two, ("running", "two")),
            (bobs, ("refused", None)),
            ("x y", ("refused", None)),
        ):
            await client.send_json_to({"watch": name})
            assert await told(client) == [answer]
        await client.send_json_to({"watch": two})  # again
        await client.send_json_to({"unwatch": one})
        await client.send_json_to({"unwatch": bobs})
        await client.send_json_to({"watch": ["rubbish"]})
        assert await told(client) == [("refused", None)]
        await publish(running(one, 2, text="one"))
        await publish(running(two, 2, text="two again"))
        assert await told(client) == [("running", "two again")]


async def test_a_page_watches_a_bounded_number_of_jobs(monkeypatch):
    monkeypatch.setattr(ProgressConsumer, "max_jobs", 2)
    jobs = [unique() for _ in range(3)]
    for job_id in jobs:
        await publish(running(job_id))
    async with websocket(ALICE, jobs[0]) as client:
        await told(client)
        for job_id, answer in zip(jobs[1:], ("running", "refused"), strict=True):
            await client.send_json_to({"watch": job_id})
            assert [state for state, _ in await told(client)] == [answer]


@pytest.mark.parametrize("rubbish", [[], 7, None, {}, {"see": "a"}, {"watch": "a", "unwatch": "a"}])
async def test_rubbish_from_a_page_ends_the_connection(rubbish):
    client = websocket()
    client.scope["asgi"] = {"version": "3.0"}
    await client.connect()
    await client.send_json_to(rubbish)
    assert (await client.receive_output())["code"] == 1007
    await client.wait()
