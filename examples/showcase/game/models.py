"""What of the game outlives its process."""

import logging

from django.db import models

from .arena import Arena

logger = logging.getLogger(__name__)


class SavedGame(models.Model):
    """The game as it was a moment ago. There is one row at most."""

    arena = models.JSONField()

    def __str__(self) -> str:
        return f"The game with {len(self.arena.get('players', {}))} players"

    @classmethod
    async def load(cls) -> Arena:
        """Where the game was, or a new one."""
        saved = await cls.objects.afirst()
        if saved is None:
            return Arena()
        try:
            return Arena.from_dict(saved.arena)
        except (TypeError, KeyError):  # An older version of this program has saved it.
            logger.warning("The saved game cannot be read, so a new one begins")
            return Arena()

    @classmethod
    async def keep(cls, arena: Arena) -> None:
        """Save the game."""
        await cls.objects.aupdate_or_create(pk=1, defaults={"arena": arena.as_dict()})
