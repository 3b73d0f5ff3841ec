"""ApplicationCommunicator: what it adds to asgiref's, and that it stays out of the way."""

import asyncio
import gc
import threading
import time
import unittest

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator as AsgirefCommunicator
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import TestCase, TransactionTestCase

from channels.db import database_sync_to_async
from channels.testing import ApplicationCommunicator


class Boom(Exception):
    pass


async def echo(scope, receive, send):
    while (event := await receive())["type"] != "stop":
        await send({**event, "scope": scope["type"]})


async def crash_on_input(scope, receive, send):
    event = await receive()
    raise Boom(event["type"])


async def silent(scope, receive, send):
    await asyncio.Event().wait()


async def count_users(scope, receive, send):
    while (await receive())["type"] != "stop":
        await send({"type": "count", "n": await database_sync_to_async(_count_users)()})


def _count_users():
    return get_user_model().objects.count()


async def test_it_is_asgirefs_communicator():
    communicator = ApplicationCommunicator(echo, {"type": "test"})
    assert isinstance(communicator, AsgirefCommunicator)
    await communicator.send_input({"type": "hello"})
    assert await communicator.receive_output(timeout=None) == {"type": "hello", "scope": "test"}
    assert communicator.output_queue.empty()
    assert not communicator.future.done()
    await communicator.send_input({"type": "stop"})
    await communicator.wait()
    assert communicator.future.done()


async def test_scope_may_be_edited_until_the_first_event():
    communicator = ApplicationCommunicator(echo, {"type": "test"})
    communicator.scope["type"] = "edited"
    await communicator.send_input({"type": "hello"})
    assert (await communicator.receive_output())["scope"] == "edited"


async def test_consumer_class_stands_for_its_application():
    class Consumer:
        @classmethod
        def as_asgi(cls):
            return echo

    communicator = ApplicationCommunicator(Consumer, {"type": "test"})
    await communicator.send_input({"type": "hello"})
    assert (await communicator.receive_output())["type"] == "hello"


async def test_crash_while_the_test_waits_is_raised_at_once():
    communicator = ApplicationCommunicator(crash_on_input, {"type": "test"})
    await communicator.send_input({"type": "first"})
    started = time.monotonic()
    with pytest.raises(Boom, match="first"):
        await communicator.receive_output(timeout=30)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("method", ["receive_output", "receive_nothing", "wait"])
async def test_crash_surfaces_in_every_method_that_waits(method):
    communicator = ApplicationCommunicator(crash_on_input, {"type": "test"})
    await communicator.send_input({"type": "first"})
    with pytest.raises(Boom):
        await getattr(communicator, method)()
    with pytest.raises(Boom):
        await communicator.send_input({"type": "second"})


async def test_output_sent_before_the_application_ended_is_received():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "last words"})

    communicator = ApplicationCommunicator(application, {"type": "test"})
    await communicator.send_input({"type": "go"})
    assert await communicator.receive_output() == {"type": "last words"}


async def test_timeout_says_what_happened_and_cancels_the_application():
    communicator = ApplicationCommunicator(silent, {"type": "test"})
    with pytest.raises(TimeoutError, match=r"nothing within 0\.01 s, and has been cancelled"):
        await communicator.receive_output(timeout=0.01)
    assert communicator.future.cancelled()
    with pytest.raises(asyncio.CancelledError, match="receive_nothing"):
        await communicator.receive_output()


async def test_timeout_raised_by_the_application_stays_its_own():
    async def application(scope, receive, send):
        raise TimeoutError("the broker took too long")

    communicator = ApplicationCommunicator(application, {"type": "test"})
    with pytest.raises(TimeoutError, match="the broker took too long"):
        await communicator.receive_output()


async def test_waiting_for_an_application_that_has_ended_does_not_wait():
    async def application(scope, receive, send):
        pass

    communicator = ApplicationCommunicator(application, {"type": "test"})
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="has ended without"):
        await communicator.receive_output(timeout=30)
    assert time.monotonic() - started < 10


async def test_error_on_the_way_out_is_raised():
    async def application(scope, receive, send):
        try:
            await asyncio.Event().wait()
        finally:
            raise Boom("cleaning up")

    communicator = ApplicationCommunicator(application, {"type": "test"})
    with pytest.raises(Boom, match="cleaning up"):
        await communicator.receive_output(timeout=0.01)


async def test_receive_nothing_leaves_the_application_running():
    communicator = ApplicationCommunicator(echo, {"type": "test"})
    assert await communicator.receive_nothing(timeout=0.02, interval=0.001)
    await communicator.send_input({"type": "hello"})
    assert not await communicator.receive_nothing()
    assert (await communicator.receive_output())["type"] == "hello"


async def test_wait_cancels_what_does_not_end():
    communicator = ApplicationCommunicator(silent, {"type": "test"})
    await communicator.wait(timeout=0.01)
    assert communicator.future.cancelled()


async def test_wait_for_an_application_that_a_timeout_has_cancelled_is_silent():
    communicator = ApplicationCommunicator(silent, {"type": "test"})
    with pytest.raises(TimeoutError):
        await communicator.receive_output(timeout=0.01)
    assert await communicator.wait() is None
    assert communicator.future.cancelled()


async def test_dropped_communicator_cancels_its_application():
    ended = asyncio.Event()

    async def application(scope, receive, send):
        await send({"type": "running"})
        try:
            await receive()
        finally:
            ended.set()

    communicator = ApplicationCommunicator(application, {"type": "test"})
    await communicator.receive_output()
    del communicator
    gc.collect()
    assert await asyncio.wait_for(ended.wait(), 5)


def test_dropped_communicators_leave_no_warning(caplog, recwarn):
    """Started or not, dropped before or after the end of their loop."""
    kept = []

    async def scenario():
        running = ApplicationCommunicator(echo, {"type": "test"})
        await running.send_input({"type": "hello"})
        await running.receive_output()
        unstarted = ApplicationCommunicator(echo, {"type": "test"})
        await unstarted.send_input({"type": "hello"})
        ApplicationCommunicator(echo, {"type": "test"})
        kept.append(ApplicationCommunicator(silent, {"type": "test"}))
        assert await kept[-1].receive_nothing(timeout=0.01)

    asyncio.run(scenario())
    async_to_sync(scenario)()
    kept.clear()
    gc.collect()
    assert not recwarn.list
    assert not caplog.records


def test_constructor_that_raises_leaves_no_warning(recwarn):
    class Picky(ApplicationCommunicator):
        def __init__(self):
            raise TypeError("before anything was set")

    with pytest.raises(TypeError):
        Picky()
    gc.collect()
    assert not recwarn.list


def test_one_loop_after_another():
    async def scenario(type_):
        communicator = ApplicationCommunicator(echo, {"type": type_})
        await communicator.send_input({"type": "hello"})
        assert (await communicator.receive_output())["scope"] == type_
        await communicator.send_input({"type": "stop"})
        await communicator.wait()

    asyncio.run(scenario("first"))
    async_to_sync(scenario)("second")
    asyncio.run(scenario("third"))


def test_communicator_used_on_a_second_loop_is_refused_with_the_way_out():
    communicator = ApplicationCommunicator(echo, {"type": "test"})
    async_to_sync(communicator.send_input)({"type": "hello"})
    for method in (communicator.receive_output, communicator.receive_nothing, communicator.wait):
        with pytest.raises(RuntimeError, match="one async_to_sync"):
            async_to_sync(method)()


class PlainUnittestTests(unittest.IsolatedAsyncioTestCase):
    async def test_works_without_any_plugin(self):
        communicator = ApplicationCommunicator(echo, {"type": "test"})
        await communicator.send_input({"type": "hello"})
        assert (await communicator.receive_output())["type"] == "hello"


async def _check_users(users):
    communicator = ApplicationCommunicator(count_users, {"type": "test", "user": AnonymousUser()})
    await communicator.send_input({"type": "count"})
    assert (await communicator.receive_output())["n"] == users
    await communicator.send_input({"type": "stop"})
    await communicator.wait()


def _check_users_from_sync_code(users):
    async_to_sync(_check_users)(users=users)


class TransactionTests(TestCase):
    """The application sees what the test has written and not committed."""

    @classmethod
    def setUpTestData(cls):
        get_user_model().objects.create(username="class")

    async def test_async(self):
        await get_user_model().objects.acreate(username="test")
        await _check_users(users=2)

    async def test_again_as_the_first_was_rolled_back(self):
        await _check_users(users=1)

    def test_sync_wrapped(self):
        get_user_model().objects.create(username="test")
        _check_users_from_sync_code(users=2)
        _check_users_from_sync_code(users=2)

    def test_application_left_running_cleans_up_in_the_transaction(self):
        """In the thread of the test, although the test's coroutine has ended by then."""
        seen = []

        def look():
            seen.append((_count_users(), threading.current_thread()))

        async def application(scope, receive, send):
            try:
                await receive()
            finally:
                await database_sync_to_async(look)()

        async def scenario():
            communicators.append(ApplicationCommunicator(application, {"type": "test"}))
            assert await communicators[0].receive_nothing(timeout=0.01)

        communicators = []
        async_to_sync(scenario)()
        assert seen == [(1, threading.current_thread())]

    async def test_sync_code_that_calls_async_code_that_calls_sync_code(self):
        async def count():
            return await database_sync_to_async(_count_users)()

        async def application(scope, receive, send):
            n = await sync_to_async(lambda: _count_users() + async_to_sync(count)())()
            await send({"type": "count", "n": n})

        communicator = ApplicationCommunicator(application, {"type": "test"})
        assert (await communicator.receive_output())["n"] == 2


class CommittedTests(TransactionTestCase):
    async def test_async(self):
        await get_user_model().objects.acreate(username="test")
        await _check_users(users=1)

    def test_sync_wrapped(self):
        get_user_model().objects.create(username="test")
        _check_users_from_sync_code(users=1)
