"""The page's WebSocket."""

import asyncio
import logging
from typing import Annotated

import msgspec
from django.core import signing
from django.utils.translation import gettext

from ..._runtime import clock, lograte, timers
from ...close_codes import CloseCode
from ...exceptions import ChannelsError, MessageRefused
from ...generic.websocket import AsyncJsonWebsocketConsumer
from ...live import Query
from ...live.looking import SortKey
from ...messages import accepts
from .asking import asking, pause_after
from .disconnecting import Target, adisconnect
from .picture import connections_picture, overview_picture
from .rights import admitted, rights_of

__all__ = ["LiveConsumer"]

logger = logging.getLogger("channels.admin")

# Connections on one page.
_ROWS = 50

# Seconds after which rights are looked at again.
_RIGHTS = 5.0

# Seconds for a page to say that it has shown what it was sent; and to say at first what it wants.
_PATIENCE = 30.0

_Words = Annotated[str, msgspec.Meta(max_length=200)]


class Watch(msgspec.Struct):
    """What a page wants to see.

    Args:
        page: what the admin has put into the page.
        text: what connections are searched for.
        group: a group that they are in.
        sort: what they are ordered by.
        ascending: the smallest first.
        offset: how many of them to leave out.
        paused: whether nobody looks at the page.
    """

    page: Annotated[str, msgspec.Meta(max_length=1000)]
    text: _Words = ""
    group: _Words = ""
    sort: SortKey = "age"
    ascending: bool = False
    offset: Annotated[int, msgspec.Meta(ge=0, le=500)] = 0
    paused: bool = False


class Seen(msgspec.Struct):
    """A page has shown what it was sent."""


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """Sends a page the figures of all processes, as quickly as the page takes them."""

    _wanted: Watch

    async def connect(self) -> None:
        """Let in staff with the permission."""
        if (await rights_of(self.scope)).view:
            self._news, self._seen = asyncio.Event(), asyncio.Event()
            self._may_disconnect = False
            await self.accept()
            self.start_background_task(self._push)
        else:
            await self.close()

    @accepts("watch")
    async def watch(self, message: Watch) -> None:
        """Show this from now on."""
        try:
            may = admitted(message.page, self.scope["user"])
        except signing.SignatureExpired:
            await self.close(CloseCode.GONE, gettext("The page is too old: reload it."))
            return
        if may is None:
            await self.close(CloseCode.FORBIDDEN, gettext("The admin has not made this page."))
            return
        self._may_disconnect = may
        self._wanted = message
        self._news.set()

    @accepts("seen")
    async def seen(self, message: Seen) -> None:
        """The page is ready for more."""
        self._seen.set()

    @accepts("disconnect")
    async def end(self, message: Target) -> None:
        """End connections, if the user may do so now."""
        rights = await rights_of(self.scope)
        if not (rights.view and rights.disconnect and self._may_disconnect):
            raise MessageRefused("forbidden", gettext("You may not disconnect."))
        try:
            await adisconnect(message, rights.user)
        except (ChannelsError, ValueError, TypeError, OSError) as error:
            text = "The admin's live page could not disconnect %s %s: %s"
            lograte.log(logger, logging.WARNING, "end", text, message.by, message.value, error)
            raise MessageRefused(
                "failed", gettext("It failed: the server's log says why.")
            ) from error
        await self.send_json({"type": "disconnected", "by": message.by, "value": message.value})

    async def _push(self) -> None:
        """Send what the page wants, one picture after another, as long as the user may see it."""
        checked = clock.now()
        if not await self._happens(self._news, _PATIENCE):
            await self.close(CloseCode.TIMEOUT, gettext("The page has not said what it wants."))
            return
        while True:
            began = clock.now()
            if began - checked >= _RIGHTS:
                if not (await rights_of(self.scope)).view:
                    await self.close(
                        CloseCode.FORBIDDEN, gettext("You may not see this page any more.")
                    )
                    return
                checked = began
            pause = _RIGHTS
            self._news.clear()
            if not self._wanted.paused:
                self._seen.clear()
                pause = await self._send_picture(self._wanted)
                if not await self._happens(self._seen, _PATIENCE):
                    await self.close(CloseCode.OVERLOADED, gettext("The page takes too long."))
                    return
            await self._happens(self._news, max(began + pause - clock.now(), 0.0))

    async def _send_picture(self, wanted: Watch) -> float:
        """Returns seconds from the beginning of this look to that of the next."""
        query = Query(
            text=wanted.text,
            group=wanted.group,
            sort=wanted.sort,
            ascending=wanted.ascending,
            limit=_ROWS,
        )
        ask = asking.get()
        try:
            (found, names), page = await asyncio.gather(
                ask.overview(), ask.connections(query, wanted.offset)
            )
        except (ChannelsError, OSError) as error:
            text = "The admin's live page cannot ask the processes: %s"
            lograte.log(logger, logging.WARNING, "ask", text, error)
            await self.send_json({"type": "unreachable"})
            return 1.0
        picture = overview_picture(found, names)
        connections = connections_picture(page, wanted.offset)
        pause = pause_after(found)
        await self.send_json(
            {"type": "figures", **picture, "connections": connections, "pause": pause}
        )
        return pause

    async def _happens(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event. When the time is over, it is set as well, and this returns False."""
        late = []

        def end() -> None:
            late.append(True)
            event.set()

        timer = timers.Timer(seconds, end)
        try:
            await event.wait()
        finally:
            timer.cancel()
        return not late
