"""A client that polls: its requests, and the session in the process that has its consumer.

The session numbers what the consumer sends, and keeps it until a request says that the client has
it. A request goes to the session over the channel layer, wherever that is, says the number of the
last message that the client has, and waits for an answer.
"""

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections import deque
from typing import Any
from urllib.parse import parse_qs

import msgspec
from django.contrib.auth import SESSION_KEY

from .._runtime import timers
from .._runtime.backstage import untold
from .._runtime.carried import KEY
from .._runtime.denial import phrase, respond
from .._runtime.forks import in_child
from .._runtime.identity import session_of, user_id_of
from .._runtime.scopes import CREDENTIAL, SHARED
from .._runtime.types import ASGIApplication, Mailbox, Message, Receive, Scope, Send
from ..close_codes import CloseCode
from ..exceptions import BrokerError, ChannelFull
from ..layers.third_party import adapt
from ._bridge import Bridge, Malformed, make_token, read_token
from ._origins import cross_origin_headers

__all__ = [
    "PollRequest",
    "PollSession",
    "count_sessions",
    "cursor_of",
    "frame_of",
    "has_ended",
    "is_owner",
    "owner_of",
    "read_cursor",
]

# The types of the messages between a request and the process that has the consumer.
_POLL, _LEAVE, _ANSWER = (f"channels.longpoll.{what}" for what in ("poll", "leave", "answer"))

# Whether every request of a session shows whose it is, or perhaps only the first one.
_ALWAYS, _ONCE = "=", "~"

# Seconds within which the process of the consumer says that it is there.
_PATIENCE = 5.0

# Messages that wait for the client before the consumer's next send waits for it, too.
_WAITING = 100


class PollRequest:
    """Waits for an answer of the process that has the consumer."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, consumer_class: Any, layer: Any
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._class = consumer_class
        self._layer = layer
        self._came = asyncio.Event()

    async def poll(self, cursor: str, polls: str, after: int) -> None:
        """Answer with what the consumer has sent after a number, or 204 after a while.

        Args:
            cursor: what the client has shown.
            polls: the channel of the session.
            after: the number of the last message that the client has.
        """
        channel = await self._layer.new_channel()
        mailbox = adapt(self._layer).open_mailbox(channel, self._came.set)
        leaving = untold(asyncio.get_running_loop().create_task(self._until_left()))
        answer: dict[str, Any] | None = None
        try:
            await self._layer.send(polls, {"type": _POLL, "after": after, "reply": channel})
            answer = await self._wait(mailbox, leaving, _PATIENCE)
            if answer is not None and "waiting" in answer:
                answer = await self._wait(mailbox, leaving, self._class.poll_timeout) or answer
        except (ChannelFull, BrokerError):
            await respond(self._scope, self._send, status=503, headers=[(b"retry-after", b"1")])
            return
        finally:
            leaving.cancel()
            await mailbox.close()
            if answer is None or "waiting" in answer:
                with contextlib.suppress(ChannelFull, BrokerError):
                    await self._layer.send(polls, {"type": _LEAVE, "reply": channel})
        if answer is None or "gone" in answer:
            await respond(self._scope, self._send, status=410)
        elif "waiting" in answer:
            await respond_with(self._scope, self._send, None)
        else:
            await respond_with(self._scope, self._send, answer, cursor.partition(":")[2])

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._came.set()

    async def _wait(
        self, mailbox: Mailbox, leaving: "asyncio.Task[None]", seconds: float
    ) -> dict[str, Any] | None:
        """What comes next; None if nothing does, or the client leaves."""
        with contextlib.suppress(TimeoutError):
            async with timers.timeout(seconds):
                while not leaving.done():
                    self._came.clear()
                    message = mailbox.take()
                    if message is None:
                        await self._came.wait()
                    elif message["type"] == _ANSWER:
                        message.pop(KEY, None)
                        return message
        return None


class PollSession(Bridge):
    """A client that polls, in the process that has its consumer.

    Args:
        scope: of its first request.
        consumer_class: the consumer's.
    """

    def __init__(self, scope: Scope, consumer_class: Any) -> None:
        super().__init__(scope)
        self.scope[SHARED] = True
        self._owner = owner_of(scope)
        self._request: Scope | None = scope
        self._class = consumer_class
        self._layer: Any = None
        self._polls: Mailbox | None = None
        self._poll: dict[str, Any] | None = None
        # How the first request is to be answered: what the application said to the handshake.
        self._handshake: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        self._denial: list[Message] = []
        # What the client may not have: numbers and JSON texts.
        self._waiting: deque[tuple[int, str]] = deque()
        self._number = self._acknowledged = 0
        self._room: asyncio.Future[None] | None = None
        self._closed: dict[str, Any] | None = None
        self._fetched = asyncio.Event()
        self._timer: timers.Timer | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def begin(self, application: ASGIApplication, layer: Any, send: Send) -> None:
        """Run a consumer, and answer the first request when it has accepted or refused."""
        loop = asyncio.get_running_loop()
        request, self._request = self._request, None
        self._layer = layer
        await self.open(layer)
        polls = await layer.new_channel()
        self._polls = adapt(layer).open_mailbox(polls, self._look_soon)
        running = self._run(application, polls, self._polls)
        _sessions[polls] = untold(loop.create_task(running))
        denial = await asyncio.shield(self._handshake)
        if denial:
            for message in denial:
                await send(message)
            return
        self._expect_poll(self._class.session_timeout)
        token = make_token(_PROCESS.get(), polls, self.channel, self._owner)
        await respond_with(request, send, self._content(), token)

    async def _run(self, application: ASGIApplication, polls: str, mailbox: Mailbox) -> None:
        try:
            await application(self.scope, self.receive, self.send)
            self._refuse(500)
            if self._closed is not None:
                with contextlib.suppress(TimeoutError):
                    async with timers.timeout(self._class.session_timeout):
                        await self._fetched.wait()
        finally:
            del _sessions[polls]
            self._refuse(500)
            self.left(CloseCode.ABNORMAL)
            self._look()
            self._stop_timer()
            await self.close()
            await mailbox.close()

    def _refuse(self, status: int) -> None:
        if not self._handshake.done():
            body = phrase(status)
            start = {"type": "http.response.start", "status": status, "headers": []}
            self._handshake.set_result([start, {"type": "http.response.body", "body": body}])

    # The client

    def _look_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """See what requests want."""
        while self._polls is not None and (message := self._polls.take()) is not None:
            if message["type"] == _POLL:
                self._asked(message)
            elif self._poll is not None and self._poll["reply"] == message.get("reply"):
                self._poll = None
                self._expect_poll(self._class.session_timeout)

    def _asked(self, poll: dict[str, Any]) -> None:
        if self._poll is not None:  # the client has given it up, or asks twice
            self._answer(self._poll, {"waiting": True})
        self._poll = None
        after = min(poll["after"], self._number)
        if after < self._acknowledged or self._has_left():
            self._answer(poll, {"gone": True})
            return
        self._acknowledged = after
        while self._waiting and self._waiting[0][0] <= after:
            self._waiting.popleft()
        self._make_room()
        if self._waiting or self._closed:
            self._answer(poll, self._content())
            self._expect_poll(self._class.session_timeout)
        else:
            self._poll = poll
            self._answer(poll, {"waiting": True})
            self._expect_poll(self._class.poll_timeout + self._class.session_timeout)

    def _content(self) -> dict[str, Any]:
        if self._closed is not None:
            self._fetched.set()
        last = self._waiting[-1][0] if self._waiting else self._acknowledged
        texts = [text for _, text in self._waiting]
        return {"last": last, "messages": texts, "closed": self._closed}

    def _tell(self) -> None:
        """Answer the request that waits."""
        poll, self._poll = self._poll, None
        if poll is not None:
            self._answer(poll, self._content())
            self._expect_poll(self._class.session_timeout)

    def _answer(self, poll: dict[str, Any], content: dict[str, Any]) -> None:
        answer = {"type": _ANSWER, **content}
        task = asyncio.get_running_loop().create_task(self._send_answer(poll["reply"], answer))
        self._answering.add(untold(task))
        task.add_done_callback(self._answering.discard)

    async def _send_answer(self, channel: str, answer: dict[str, Any]) -> None:
        # If it is lost, the client asks again with the same cursor.
        with contextlib.suppress(ChannelFull, BrokerError):
            await self._layer.send(channel, answer)

    def _expect_poll(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = timers.Timer(seconds, self.left, CloseCode.ABNORMAL)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def left(self, code: int, reason: str = "") -> None:
        """The client has not come back, or the application has closed or returned."""
        super().left(code, reason)
        self._make_room()
        if self._poll is not None and self._has_left():
            self._answer(self._poll, {"gone": True})
            self._poll = None

    def _has_left(self) -> bool:
        """Whether there is nothing more to tell, not even why the application has closed."""
        return self._last is not None and self._closed is None

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # The application

    async def send(self, message: Message) -> None:
        """Keep what the application says for the client's next request."""
        message_type: str = message["type"]
        if message_type == "websocket.send":
            await self._keep(message)
        elif message_type == "websocket.accept":
            self._handshake.set_result([])
        elif message_type.startswith("websocket.http."):
            self._denial.append({**message, "type": message_type.removeprefix("websocket.")})
            if message_type.endswith(".body") and not message.get("more_body"):
                self._handshake.set_result(self._denial)
                self.left(CloseCode.ABNORMAL)
        elif not self._handshake.done():
            self._refuse(403)
            self.left(CloseCode.ABNORMAL)
        else:
            code = message.get("code") or CloseCode.NORMAL
            self._closed = {"code": code, "reason": message.get("reason") or ""}
            self._tell()
            self.left(code)

    async def _keep(self, message: Message) -> None:
        text = _as_json(message)
        while len(self._waiting) >= _WAITING and self._last is None:
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
        if self._last is not None:
            raise ConnectionError  # the client has not come back
        self._number += 1
        self._waiting.append((self._number, text))
        # What the same handler sends next may go along.
        if self._poll is not None:
            asyncio.get_running_loop().call_soon(self._tell)


def _as_json(message: Message) -> str:
    """The text of a frame as it stands in an answer: JSON."""
    text: str | None = message.get("text")
    if text is None:
        raise ValueError("A client that polls gets JSON, and no bytes: use send_json()")
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return json.dumps(text)
    return text


def cursor_of(scope: Scope) -> str:
    """What a request has in ``?cursor=``; empty if it has none."""
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("cursor", [""])[-1]


def read_cursor(cursor: str) -> tuple[int, list[str]]:
    """The number of the last message that the client has, and what the cursor names.

    Raises:
        Malformed: it is none of our cursors.
    """
    number, _, token = cursor.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        raise Malformed
    return int(number), read_token(token, 4)


def owner_of(scope: Scope) -> str:
    """Whose a session of polls is; empty if nobody is signed in.

    Cursors are in URLs, and those in access logs. A cookie comes with every request, so where a
    Django session says who it is, requests without one are refused too. A token or a ticket need
    not come again.
    """
    user_id = user_id_of(scope)
    if not user_id:
        return ""
    signed_in = SESSION_KEY in getattr(session_of(scope), "_session_cache", {})
    return (_ALWAYS if signed_in and CREDENTIAL not in scope else _ONCE) + _digest(user_id)


def is_owner(scope: Scope, owner: str) -> bool:
    """Whether a request may go on with a session of polls that is this owner's."""
    user_id = user_id_of(scope)
    if user_id is None:
        return not owner.startswith(_ALWAYS)
    return owner[1:] in ("", _digest(user_id))


def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def frame_of(body: bytes) -> dict[str, Any]:
    """What a request brings: one frame of text.

    Raises:
        Malformed: it is no UTF-8.
    """
    try:
        return {"frames": [{"text": body.decode()}]}
    except UnicodeDecodeError as error:
        raise Malformed from error


async def respond_with(
    scope: Scope | None, send: Send, content: dict[str, Any] | None, token: str = ""
) -> None:
    """Answer with messages and the next cursor, or with 204."""
    headers = [(b"cache-control", b"no-store"), *cross_origin_headers(scope or {})]
    body = b""
    if content is not None:
        headers.append((b"content-type", b"application/json"))
        cursor = json.dumps(f"{content['last']}:{token}")
        closed = f', "closed": {json.dumps(content["closed"])}' if content["closed"] else ""
        text = ", ".join(content["messages"])
        body = f'{{"cursor": {cursor}, "messages": [{text}]{closed}}}'.encode()
    status = 204 if content is None else 200
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Process:
    """The name of this process, which is another one after a fork."""

    def __init__(self) -> None:
        self.renew()
        in_child(self.renew)

    def renew(self) -> None:
        self._name = uuid.uuid4().hex
        _sessions.clear()

    def get(self) -> str:
        return self._name


# The sessions of this process, by the channels that requests ask.
_sessions: dict[str, "asyncio.Task[None]"] = {}
_PROCESS = _Process()


def count_sessions() -> int:
    """How many sessions this process has."""
    return len(_sessions)


def has_ended(process: str, polls: str) -> bool:
    """Whether a session was this process's, and is no more."""
    return process == _PROCESS.get() and polls not in _sessions
