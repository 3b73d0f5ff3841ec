"""The names of users, for people who read the page."""

import contextlib
from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from ..._runtime.logtext import printable
from ...db import database_sync_to_async

__all__ = ["Names", "name_of", "names_of"]

# Names that are remembered.
_KEPT = 1000


class Names:
    """Asks the database for each name once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    async def of(self, keys: Iterable[str]) -> dict[str, str]:
        """The names of users by primary key, as far as there are such users."""
        wanted = list(keys)
        if any(key not in self._known for key in wanted):
            if len(self._known) + len(wanted) > _KEPT:
                self._known.clear()
            self._known.update(dict.fromkeys(wanted, "") | await _names(wanted))
        return {key: self._known[key] for key in wanted if self._known[key]}


@database_sync_to_async
def _names(keys: list[str]) -> dict[str, str]:
    return names_of(keys)


def names_of(keys: Iterable[str]) -> dict[str, str]:
    """The names of users by primary key, from the database."""
    model: Any = get_user_model()
    valid = {}
    for key in keys:
        with contextlib.suppress(ValidationError, ValueError, TypeError):
            valid[model._meta.pk.to_python(key)] = key
    users = model._base_manager.filter(pk__in=list(valid))
    return {valid[user.pk]: printable(user.get_username()) for user in users}


def name_of(key: str) -> str:
    """The name of one user; empty if there is no such user."""
    return names_of([key]).get(key, "")
