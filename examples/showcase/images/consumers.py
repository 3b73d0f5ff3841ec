"""The painter, which is one consumer of a worker, and the WebSockets of the pages."""

import asyncio
import logging
from typing import Any

from channels.close_codes import CloseCode
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db.models import F

from showcase.sessions import group_of

from .forms import ParametersForm
from .models import MOST_KEPT, Job, TooMany
from .painting import Parameters, paint

logger = logging.getLogger(__name__)

#: The channel of the painter.
CHANNEL = "images"
#: Pictures that are painted at a time. The others wait.
AT_ONCE = 2


def group_of_owner(pk: int) -> str:
    """The group of all pages of a person."""
    return f"images.{pk}"


class PainterConsumer(AsyncConsumer):
    """Paints what is ordered, several pictures at a time, in threads.

    A message only says that there is something new about a job; what, is in the database. So it
    may come twice, and a painter that begins anew goes on where it is told to.
    """

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(AT_ONCE)
        self.jobs: dict[int, asyncio.Task[None]] = {}
        self.changed: set[int] = set()

    async def on_worker_shutdown(self) -> None:
        """End: the process ends, or a message could not be handled."""
        for task in self.jobs.values():
            task.cancel()
        await asyncio.gather(*self.jobs.values(), return_exceptions=True)

    async def images_ordered(self, message: dict[str, Any]) -> None:
        """There is a new version of a job."""
        pk = message["job"]
        self.changed.add(pk)
        if pk not in self.jobs:
            self.jobs[pk] = asyncio.create_task(self.work(pk))

    async def work(self, pk: int) -> None:
        """Paint one version after another, until the last one is finished."""
        try:
            while pk in self.changed:
                self.changed.discard(pk)
                unfinished = Job.objects.filter(pk=pk, state__in=Job.UNFINISHED)
                if (job := await unfinished.afirst()) is not None:
                    async with self.places:
                        await self.paint(job)
        finally:
            del self.jobs[pk]

    async def paint(self, job: Job) -> None:
        """Paint one version, as long as it is wanted."""
        try:
            steps = paint(Parameters(**job.parameters))
            # Each step is a fraction of a second in a thread. Meanwhile the event loop is free.
            while step := await asyncio.to_thread(next, steps, None):
                percent, image = step
                state = Job.State.DONE if percent == 100 else Job.State.PAINTING
                if not await job.advance(state=state, percent=percent, image=image):
                    return
                await self.tell(job)
        except Exception:
            logger.exception("Picture %s cannot be painted", job.pk)
            await job.advance(state=Job.State.FAILED)
            await self.tell(job)

    async def tell(self, job: Job) -> None:
        """Show the owner how far it is, in all windows."""
        message = {"type": "images.event", "event": job.as_event()}
        await self.channel_layer.group_send(group_of_owner(job.owner_id), message)


class ImagesConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows somebody's pictures.

    The page sends ``order`` with ``parameters``, and with the ``id`` of a picture to change one,
    also under way; ``cancel`` and ``remove`` with an ``id``. It receives ``jobs`` at first, then
    ``job`` for whatever is new about one, ``removed``, and ``error``.
    """

    async def connect(self) -> None:
        await self.accept()
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        self.own = Job.objects.filter(owner=self.user)
        session = group_of(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        # Join first, look into the database second: then nothing falls between the two.
        await self.channel_layer.group_add(group_of_owner(self.user.pk), self.channel_name)
        await self.send_jobs()

    async def send_jobs(self) -> None:
        """Show all there is, and see to it that what is unfinished goes on."""
        jobs = [job async for job in self.own]
        events = [job.as_event() for job in jobs]
        await self.send_json({"type": "jobs", "jobs": events, "most": MOST_KEPT})
        for job in jobs:
            if job.state in Job.UNFINISHED:
                await self.tell_painter(job.pk)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "order", "parameters": dict(parameters), "id": int(pk)}:
                await self.order(parameters, pk)
            case {"type": "order", "parameters": dict(parameters)} if "id" not in content:
                await self.order(parameters)
            case {"type": "cancel", "id": int(pk)}:
                await self.cancel(pk)
            case {"type": "remove", "id": int(pk)}:
                await self.own.filter(pk=pk).adelete()
                await self.tell_owner({"type": "removed", "id": pk})
            case _:
                await self.refuse("The server does not understand this page. Reload it.")

    async def order(self, parameters: dict[str, Any], pk: int | None = None) -> None:
        """Order a picture, or change one."""
        form = ParametersForm(parameters)
        if not form.is_valid():
            name, errors = next(iter(form.errors.items()))
            await self.refuse(f"{form[name].label}: {errors[0]}")
            return
        try:
            job = await database_sync_to_async(Job.order)(self.user, form.parameters, pk)
        except TooMany:
            await self.refuse("Wait until one of your other pictures is finished, or cancel it.")
            return
        if job is not None:
            await self.tell_owner(job.as_event())
            await self.tell_painter(job.pk)

    async def cancel(self, pk: int) -> None:
        """Stop a picture. It stays as it is."""
        unfinished = self.own.filter(pk=pk, state__in=Job.UNFINISHED)
        # A new version: previews of the old one that are on their way come too late.
        if await unfinished.aupdate(state=Job.State.CANCELLED, version=F("version") + 1):
            async for job in self.own.filter(pk=pk):
                await self.tell_owner(job.as_event())

    async def refuse(self, text: str) -> None:
        """Tell the page why something cannot be done."""
        await self.send_json({"type": "error", "text": text})

    async def tell_painter(self, pk: int) -> None:
        """Tell the painter that there is something to do."""
        try:
            await self.channel_layer.send(CHANNEL, {"type": "images.ordered", "job": pk})
        except ChannelFull:
            await self.refuse("Nobody paints at the moment. Reload the page in a minute.")

    async def tell_owner(self, event: dict[str, Any]) -> None:
        """Send ``event`` to all windows of this person."""
        message = {"type": "images.event", "event": event}
        await self.channel_layer.group_send(group_of_owner(self.user.pk), message)

    async def images_event(self, message: dict[str, Any]) -> None:
        """Pass on to the page what is new."""
        await self.send_json(message["event"])

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Begin anew, because messages of the channel layer were lost on their way here."""
        await self.send_jobs()

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, because the session has ended."""
        await self.close(CloseCode.UNAUTHORIZED)
