import asyncio

import pytest

from channels.management.limits import TimeLimits

HTTP = {"type": "http", "asgi": {}, "path": "/slow"}
WEBSOCKET = {"type": "websocket", "asgi": {}, "path": "/slow"}
DEADLINE = 5.0


async def serve(application, scope, **limits):
    """What the application under these limits sends."""
    sent = []

    async def send(message):
        sent.append(message)

    wrapped = TimeLimits(application, **{"response": None, "handshake": None, **limits})
    await asyncio.wait_for(wrapped(scope, asyncio.Event().wait, send), DEADLINE)
    return sent


class Hanging:
    """Sends some messages, then hangs until it is cancelled."""

    def __init__(self, *messages):
        self.messages = messages
        self.cancelled = False

    async def __call__(self, scope, receive, send):
        for message in self.messages:
            await send(message)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            await send({"type": "too.late"})  # nobody wants it any more
            raise


async def test_a_request_without_a_response_gets_503_and_one_line_says_why(caplog):
    application = Hanging()
    sent = await serve(application, HTTP, response=0.01)
    assert [message.get("status") for message in sent] == [503, None]
    assert application.cancelled
    (record,) = caplog.records
    assert "has not answered within 0.01 s" in record.getMessage()


async def test_a_response_that_has_started_is_cut_short(caplog):
    start = {"type": "http.response.start", "status": 200}
    application = Hanging(start)
    assert await serve(application, HTTP, response=0.01) == [start]
    assert application.cancelled
    assert caplog.records == []


async def test_a_handshake_without_an_answer_is_refused():
    application = Hanging()
    assert await serve(application, WEBSOCKET, handshake=0.01) == [{"type": "websocket.close"}]
    assert application.cancelled


async def test_a_socket_that_was_accepted_has_no_limit():
    async def application(scope, receive, send):
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.05)
        await send({"type": "websocket.close"})

    sent = await serve(application, WEBSOCKET, handshake=0.01)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize("limits", [{}, {"response": 10, "handshake": 10}])
@pytest.mark.parametrize("scope", [HTTP, WEBSOCKET, {"type": "lifespan"}])
async def test_what_the_application_raises_is_raised(scope, limits):
    async def application(scope, receive, send):
        raise TimeoutError("the application's own")

    with pytest.raises(TimeoutError, match="the application's own"):
        await serve(application, scope, **limits)


async def test_cancellation_reaches_the_application():
    started = asyncio.Event()

    async def send(message):
        started.set()

    application = Hanging({"type": "http.response.start", "status": 200})
    wrapped = TimeLimits(application, response=10, handshake=10)
    task = asyncio.create_task(wrapped(HTTP, asyncio.Event().wait, send))
    await asyncio.wait_for(started.wait(), DEADLINE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert application.cancelled
