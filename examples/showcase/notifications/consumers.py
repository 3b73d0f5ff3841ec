"""The stream of server-sent events that a person's pages read."""

from typing import Any

from channels.generic.sse import AsyncSseConsumer

from showcase.sessions import group_of as group_of_session

from .models import Notification
from .signals import group_of

# So many a page shows.
SHOWN = 20
# Where transactions run side by side, a smaller number may come to be seen after a larger one.
OVERLAP = 10


class NotificationStream(AsyncSseConsumer):
    """The notifications of one person.

    Events are ``notification``, for each that is new or has changed; ``state``, after every change,
    which says what is there and what of it is unread; and ``signed-out``, the last one.
    """

    retry = 2000

    async def connect(self) -> None:
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.signed_out({})
            return
        self.mine = Notification.objects.filter(person=user)
        session = group_of_session(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        # Join first, look into the database second: then nothing falls between the two.
        await self.channel_layer.group_add(group_of(user.pk), self.channel_name)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Send what the page does not have: all, or what came after the last event it had."""
        missed = self.mine
        if self.last_event_id and self.last_event_id.isdecimal():
            missed = missed.filter(pk__gt=int(self.last_event_id) - OVERLAP)
        newest_first = [notification async for notification in missed[:SHOWN]]
        for notification in reversed(newest_first):
            await self.send_notification(notification)
        await self.send_state()

    async def send_notification(self, notification: Notification) -> None:
        """Send one, with its number as the id of the event: the browser names it on its return."""
        event = notification.as_event()
        await self.send_json(event, event="notification", id=str(notification.pk))

    async def send_state(self) -> None:
        """Send what a page cannot work out: it may have been away when things were read."""
        newest = self.mine.values_list("pk", "is_read")[:SHOWN]
        shown = [{"id": pk, "read": is_read} async for pk, is_read in newest]
        unread = await self.mine.filter(is_read=False).acount()
        await self.send_json({"shown": shown, "unread": unread}, event="state")

    async def notification_saved(self, message: dict[str, Any]) -> None:
        """Fetch what was saved: meanwhile it may have changed once more, or be gone."""
        async for notification in self.mine.filter(pk=message["id"]):
            await self.send_notification(notification)
        await self.send_state()

    async def notifications_changed(self, message: dict[str, Any]) -> None:
        """Some were read, or are gone."""
        await self.send_state()

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Catch up, because messages of the channel layer were lost on their way here."""
        await self.catch_up()

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, and say so: a page would come back to a stream that just ends."""
        await self.send_event("", event="signed-out")
        await self.close()
