"""The rules of the game. Nothing here knows of networks, databases or clocks."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

#: Steps per second.
RATE = 20
#: Width and height.
SIZE = 800
#: How far a ship flies in a second.
SPEED = 260
#: How close a ship can come to the edge.
EDGE = 20
#: How close a ship has to come to a star.
REACH = 28
STARS = 12
MOST_PLAYERS = 30
#: Steps after which a player of whom nothing is heard has gone: ten seconds.
PATIENCE = 10 * RATE
#: The same after the game itself was away, for it takes browsers a while to come back.
PATIENCE_AT_FIRST = 40 * RATE


@dataclass
class Player:
    """Somebody, and their ship."""

    name: str
    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0
    points: int = 0
    patience: int = PATIENCE


@dataclass
class Arena:
    """The game at one moment."""

    players: dict[str, Player] = field(default_factory=dict)
    stars: list[list[float]] = field(default_factory=list)
    #: How many steps there were.
    steps: int = 0

    def __post_init__(self) -> None:
        self.stars.extend(somewhere() for _ in range(STARS - len(self.stars)))

    def hear(self, key: str, name: str, direction: Sequence[float] | None = None) -> None:
        """Somebody is here, and flies in a new direction unless that is ``None``.

        Whoever is not in the game yet comes in, if there is room. However long the vector is, a
        ship has only one speed.
        """
        player = self.players.get(key)
        if player is None:
            if len(self.players) >= MOST_PLAYERS:
                return
            player = self.players[key] = Player(name, *somewhere())
        player.patience = PATIENCE
        if direction is not None:
            length = math.hypot(*direction)
            player.dx, player.dy = (part / max(1.0, length) for part in direction)

    def leave(self, key: str) -> None:
        """Somebody does not want to play any more."""
        self.players.pop(key, None)

    def step(self) -> None:
        """What happens within a twentieth of a second."""
        self.steps += 1
        for key, player in list(self.players.items()):
            player.patience -= 1
            if player.patience < 0:
                self.leave(key)
                continue
            player.x = min(SIZE - EDGE, max(EDGE, player.x + player.dx * SPEED / RATE))
            player.y = min(SIZE - EDGE, max(EDGE, player.y + player.dy * SPEED / RATE))
            for star in self.stars:
                if math.dist(star, (player.x, player.y)) < REACH:
                    player.points += 1
                    star[:] = somewhere()

    def as_event(self) -> dict[str, Any]:
        """What a page needs to show it."""
        return {
            "type": "state",
            "players": [
                {
                    "id": key,
                    "name": player.name,
                    "x": round(player.x),
                    "y": round(player.y),
                    "points": player.points,
                }
                for key, player in self.players.items()
            ],
            "stars": self.stars,
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, to be saved as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Self:
        """What was saved, with time for its players to come back."""
        arena = cls(**saved)
        for key, player in saved["players"].items():
            arena.players[key] = Player(**player | {"patience": PATIENCE_AT_FIRST})
        return arena


def somewhere() -> list[float]:
    """A place that is not too close to the edge."""
    return [random.randint(REACH, SIZE - REACH), random.randint(REACH, SIZE - REACH)]
