"""What happens on the WebSocket of a document's page."""

import contextlib
import secrets
from base64 import b64decode, b64encode
from typing import Any

from channels.close_codes import CloseCode
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from showcase.sessions import group_of

from .models import LARGEST_UPDATE, Document, Refused

# Base64 makes four characters of three bytes.
LONGEST_FIELD = LARGEST_UPDATE // 3 * 4 + 4
LONGEST_CARET = 100


class EditorConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows one document.

    The page sends, with bytes in base64:

    - ``{"type": "compare", "state": ...}``: what it has, as a Yjs state vector. The answer is
      ``document``, with the ``update`` that the page lacks and the ``state`` of the server. The
      page then sends what the server lacks: what was typed without a connection is among it.
    - ``{"type": "update", "update": ...}``: a change. The answer is ``saved``, or ``refused`` with
      a ``text`` that says why. The other pages receive ``update``.
    - ``{"type": "here", "caret": ...}``, once in a while and when the caret moves: somebody looks
      at this place of the document. All pages receive ``here``, as when a page comes, and ``left``
      when it goes. Of a page whose server has died they hear nothing any more.
    """

    # Also when the page goes meanwhile, what was stored is told to the others.
    disconnect_grace = 5.0

    group = ""
    caret = ""

    async def connect(self) -> None:
        await self.accept()
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        self.pk = self.scope["url_route"]["kwargs"]["pk"]
        if not await Document.objects.filter(pk=self.pk).aexists():
            await self.close(CloseCode.NOT_FOUND, "There is no such document.")
            return
        session = group_of(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        self.page = secrets.token_hex(8)
        # What others change from now on arrives, and what they have changed is in the answer to
        # "compare". What is in both does no harm.
        self.group = f"document.{self.pk}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.tell_all("editor.arrived", **self.presence(), to=self.channel_name)

    async def disconnect(self, code: int) -> None:
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)
            await self.tell_all("editor.left")

    # From the page

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        try:
            match content:
                case {"type": "compare", "state": str(state)}:
                    await self.compare(decoded(state))
                case {"type": "update", "update": str(update)}:
                    await self.change(decoded(update))
                case {"type": "here", "caret": str(caret)} if len(caret) <= LONGEST_CARET:
                    self.caret = caret
                    await self.tell_all("editor.here", **self.presence())
                case _:
                    text = "The server does not understand this page. Reload it."
                    await self.send_json({"type": "error", "text": text})
        except Refused as refused:
            await self.send_json({"type": "refused", "text": str(refused)})
        except Document.DoesNotExist:
            await self.close(CloseCode.GONE, "Somebody has deleted this document.")

    async def compare(self, state: bytes) -> None:
        """Tell the page what it lacks, and what the server has."""
        lacking, own_state = await database_sync_to_async(Document.compare)(self.pk, state)
        document = {"type": "document", "update": encoded(lacking), "state": encoded(own_state)}
        await self.send_json(document)

    async def change(self, update: bytes) -> None:
        """Store a change, and tell the others what is new in it."""
        change = await database_sync_to_async(Document.append)(self.pk, update)
        if change:
            await self.tell_all("editor.update", update=change)
        await self.send_json({"type": "saved"})

    def presence(self) -> dict[str, str]:
        """Who looks at the document, and where: only pages know what the text of a caret means."""
        return {"user": self.user.get_username(), "caret": self.caret}

    # From the consumers of this document's pages, this one among them

    async def tell_all(self, kind: str, **content: Any) -> None:
        """Send a message to all of them."""
        message = {"type": kind, "page": self.page, **content}
        await self.channel_layer.group_send(self.group, message)

    async def editor_update(self, message: dict[str, Any]) -> None:
        """A page has changed the document."""
        if message["page"] != self.page:
            await self.send_json({"type": "update", "update": encoded(message["update"])})

    async def editor_arrived(self, message: dict[str, Any]) -> None:
        """A page has come, this one perhaps, and wants to know who is here."""
        await self.editor_here(message)
        if message["page"] != self.page:
            here = {"type": "editor.here", "page": self.page, **self.presence()}
            with contextlib.suppress(ChannelFull):  # It will hear of this page later.
                await self.channel_layer.send(message["to"], here)

    async def editor_here(self, message: dict[str, Any]) -> None:
        """Somebody is here."""
        here = {name: message[name] for name in ("page", "user", "caret")}
        await self.send_json({"type": "here", **here})

    async def editor_left(self, message: dict[str, Any]) -> None:
        """A page has gone."""
        await self.send_json({"type": "left", "page": message["page"]})

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Messages to this page have been lost: let it compare what it has."""
        await self.send_json({"type": "lost"})

    async def signed_out(self, message: dict[str, Any]) -> None:
        """The session has ended, so this ends as well."""
        await self.close(CloseCode.UNAUTHORIZED)


def encoded(data: bytes) -> str:
    """``data`` in base64."""
    return b64encode(data).decode()


def decoded(text: str) -> bytes:
    """The bytes of a text in base64.

    Raises:
        Refused: it is not one, or too long.
    """
    if len(text) > LONGEST_FIELD:
        raise Refused("This change is too large.")
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Refused("This is no part of a document.") from error
