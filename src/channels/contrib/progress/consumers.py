"""Consumers that show jobs to pages: over WebSockets, and as server-sent events."""

from typing import Any

from ..._runtime.faults import blame_client
from ..._runtime.types import any_arguments
from ...close_codes import CloseCode
from ...consumer import framework
from ...generic.sse import AsyncSseConsumer
from ...generic.websocket import AsyncJsonWebsocketConsumer
from .watching import Watching

__all__ = ["ProgressConsumer", "ProgressSseConsumer"]


@framework("progress_report")
class ProgressConsumer(Watching, AsyncJsonWebsocketConsumer):
    """Shows jobs over a WebSocket: that of the route's argument ``job``, or all of the user's.

    The page gets an object for each job's last known state at once, and then for each report. It
    may send ``{"watch": "<job>"}`` to see one more, and ``{"unwatch": "<job>"}``. A client that may
    see nothing is closed with 4401 if it is not signed in, and else with 4404, whether or not there
    is such a job.
    """

    async def connect(self) -> None:
        """Accept the client, and show what there is."""
        jobs = await self.begin()
        if jobs is not None:
            await self.accept()
            await self.show(jobs)

    @any_arguments
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The page asks for one more job, or for no more of one."""
        if isinstance(content, dict) and len(content) == 1:
            if "watch" in content:
                return await self.watch(content["watch"])
            if "unwatch" in content:
                return await self.unwatch(content["unwatch"])
        error = ValueError('A page sends {"watch": "<job>"} or {"unwatch": "<job>"}')
        blame_client(error, CloseCode.INVALID_PAYLOAD.value)
        raise error

    async def tell(self, content: dict[str, Any]) -> None:
        """Send something to the page."""
        await self.send_json(content)

    async def refuse(self, *, signed_in: bool) -> None:
        """Close the socket, with a code that the page can read: so it is accepted first."""
        if not self._open:
            await self.accept()
        await self.close(CloseCode.NOT_FOUND if signed_in else CloseCode.UNAUTHORIZED)


@framework("progress_report")
class ProgressSseConsumer(Watching, AsyncSseConsumer):
    """Shows jobs as server-sent events of the type ``progress``, each with an object as JSON.

    Which ones, is as for :class:`ProgressConsumer`. A client that may see nothing gets the status
    403 if it is not signed in, and else 404.
    """

    async def connect(self) -> None:
        """Begin the stream, and show what there is."""
        jobs = await self.begin()
        if jobs is not None:
            await self.accept()
            await self.show(jobs)

    async def tell(self, content: dict[str, Any]) -> None:
        """Send one event."""
        await self.send_json(content, event=content["type"])

    async def refuse(self, *, signed_in: bool) -> None:
        """Refuse the client, or end its stream."""
        await self.close(404 if signed_in else 403)
