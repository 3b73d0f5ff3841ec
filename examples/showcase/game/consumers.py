"""The game, which is one consumer of a worker, and the players' WebSockets."""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

from channels.close_codes import CloseCode
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer

from showcase.sessions import group_of

from .arena import MOST_PLAYERS, RATE, SIZE, Arena
from .models import SavedGame

logger = logging.getLogger(__name__)

#: The channel of the game, and the group of those who watch it. They use a layer of their own: who
#: is slow gets the latest states, not the oldest.
CHANNEL, WATCHING, LAYER = "game", "game.watching", "game"
#: Steps after which the game is saved: two seconds.
SAVE_EVERY = 2 * RATE
#: What a page may send in a second, and at once.
INPUTS_PER_SECOND, INPUTS_AT_ONCE = 25.0, 25.0


class GameConsumer(AsyncConsumer):
    """The one place where the game happens. Run it in one process only: ``mysite/workers.py``.

    It hears from players by messages, and tells everybody who watches, twenty times a second. It
    begins with the first player and rests when nobody plays.
    """

    arena: Arena | None = None
    loop: asyncio.Task[None] | None = None

    async def game_player(self, message: dict[str, Any]) -> None:
        """A player is here, and may have chosen a direction."""
        if self.arena is None:
            self.arena = await SavedGame.load()
        self.arena.hear(message["player"], message["name"], message["direction"])
        if self.loop is None or self.loop.done():
            self.loop = asyncio.create_task(self.run(self.arena))
            self.loop.add_done_callback(tell_failure)

    async def game_leave(self, message: dict[str, Any]) -> None:
        """A player has had enough."""
        if self.arena is not None:
            self.arena.leave(message["player"])

    async def run(self, arena: Arena) -> None:
        """Let the game go on until nobody plays."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while arena.players:
            arena.step()
            await self.tell(arena)
            if arena.steps % SAVE_EVERY == 0:
                await SavedGame.keep(arena)
            # A game that was held up does not hurry afterwards.
            due = max(due + 1 / RATE, clock())
            await asyncio.sleep(due - clock())
        await self.tell(arena)
        await SavedGame.keep(arena)

    async def tell(self, arena: Arena) -> None:
        """Tell everybody who watches. It is encoded once, however many they are."""
        state = json.dumps(arena.as_event(), separators=(",", ":"))
        message = {"type": "game.state", "state": state}
        await get_channel_layer(LAYER).group_send(WATCHING, message)

    async def on_worker_shutdown(self) -> None:
        """End, and save the game: the process ends, or a message could not be handled."""
        if self.loop is not None and not self.loop.done():
            self.loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.loop
        if self.arena is not None:
            await SavedGame.keep(self.arena)


def tell_failure(loop: asyncio.Task[None]) -> None:
    """Log why the game has stopped; the next player that is heard of starts it again."""
    if not loop.cancelled() and loop.exception() is not None:
        logger.error("The game has stopped", exc_info=loop.exception())


class PlayerConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows the game. It decides nothing; it checks what the page wants.

    The page sends ``{"type": "steer", "dx": ..., "dy": ...}``, numbers from -1 to 1; ``here`` once
    a second while somebody plays and does not steer; and ``leave``. It receives ``welcome`` once,
    and then each ``state`` of the game.
    """

    channel_layer_alias = LAYER

    async def connect(self) -> None:
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        # Windows of the same person steer the same ship, also after they have been away.
        self.player, self.name = str(user.pk), user.get_username()
        self.allowance, self.asked = INPUTS_AT_ONCE, time.monotonic()
        for group in (WATCHING, group_of(self.scope["session"].session_key)):
            await self.channel_layer.group_add(group, self.channel_name)
        rules = {"size": SIZE, "rate": RATE, "room": MOST_PLAYERS}
        await self.send_json({"type": "welcome", "player": self.player, **rules})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if self.is_too_fast():
            return  # An answer to each would help those who flood.
        match content:
            case {"type": "steer", "dx": dx, "dy": dy} if is_part(dx) and is_part(dy):
                await self.tell_game("game.player", name=self.name, direction=[dx, dy])
            case {"type": "here"}:
                await self.tell_game("game.player", name=self.name, direction=None)
            case {"type": "leave"}:
                await self.tell_game("game.leave")
            case _:
                text = "The server does not understand this page. Reload it."
                await self.send_json({"type": "error", "text": text})

    async def tell_game(self, kind: str, **content: Any) -> None:
        """Send a message to the game."""
        with contextlib.suppress(ChannelFull):  # It is away or late. The page goes on telling it.
            message = {"type": kind, "player": self.player, **content}
            await get_channel_layer().send(CHANNEL, message)

    def is_too_fast(self) -> bool:
        """Whether the page sends more than anybody can play ("token bucket")."""
        asked, self.asked = self.asked, time.monotonic()
        regained = (self.asked - asked) * INPUTS_PER_SECOND
        self.allowance = min(INPUTS_AT_ONCE, self.allowance + regained)
        if self.allowance < 1:
            return True
        self.allowance -= 1
        return False

    async def game_state(self, message: dict[str, Any]) -> None:
        """The game has gone on."""
        await self.send(text_data=message["state"])

    async def signed_out(self, message: dict[str, Any]) -> None:
        """The session has ended, so this ends as well."""
        await self.close(CloseCode.UNAUTHORIZED)


def is_part(value: Any) -> bool:
    """Whether ``value`` is one half of a direction."""
    return type(value) in (int, float) and -1 <= value <= 1
