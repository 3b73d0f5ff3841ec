"""Hears of what ends sign-ins: sessions that end or get another key, and users that change.

Django sends no signal when a session ends. So the two methods of session stores that end one or
give it another key are watched: ``delete()`` and ``cycle_key()``, and their asynchronous twins.
"""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.signals import setting_changed
from django.db import router, transaction
from django.db.models.signals import post_delete, post_save

from .._runtime.loops import running_loop
from ..control.plane import control_layer, planes
from .finding import digest
from .plan import Plan
from .telling import ENDED, RENAMED, USERS, bulletin

__all__ = ["tell", "watch"]

# What a sign-in writes itself, which says nothing about whether the user may go on.
_HARMLESS = {"last_login"}

_cycling: ContextVar[bool] = ContextVar("_cycling", default=False)


def watch() -> None:
    """Begin to hear. To call it again changes nothing."""
    _watch_store()
    _watch_users()
    setting_changed.connect(_setting_changed, dispatch_uid="channels.revocation")


def _setting_changed(setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_ENGINE":
        _watch_store()
    elif setting in ("AUTH_USER_MODEL", "CHANNELS_REVOCATION"):
        _watch_users()


def tell(command: str, value: object, using: str | None) -> None:
    """Tell all processes, when the transaction has been committed.

    Where an event loop runs there is none: Django has no transactions in coroutines.
    """
    if Plan.in_force() is None:
        return
    if any(loop.is_running() for loop, _ in planes.all()) or control_layer() is not None:
        if using is None or running_loop() is not None:
            bulletin.add(command, value)
        else:
            tell = functools.partial(bulletin.add, command, value)
            transaction.on_commit(tell, using=using, robust=True)


# Users

# What is heard of now: the project's model, and what derives from it.
_user_models: list[type] = []


def _watch_users() -> None:
    """Hear of the project's users.

    Not of other models too: where somebody hears of deletions, Django loads each row before it.
    """
    for model in _user_models:
        post_save.disconnect(sender=model, dispatch_uid="channels.revocation")
        post_delete.disconnect(sender=model, dispatch_uid="channels.revocation")
    _user_models.clear()
    if Plan.in_force() is not None:
        users = get_user_model()
        _user_models.extend(model for model in apps.get_models() if issubclass(model, users))
    for model in _user_models:
        post_save.connect(_user_saved, sender=model, dispatch_uid="channels.revocation")
        post_delete.connect(_user_changed, sender=model, dispatch_uid="channels.revocation")


def _user_saved(
    instance: Any, using: str, created: bool, update_fields: Any = None, **kwargs: Any
) -> None:
    harmless = update_fields is not None and set(update_fields) <= _HARMLESS
    if not created and not harmless:
        _user_changed(instance, using)


def _user_changed(instance: Any, using: str, **kwargs: Any) -> None:
    # What derives from the model may have a primary key of its own.
    key: Any = get_user_model()._meta.pk
    tell(USERS, str(getattr(instance, key.attname)), using)


# Sessions


def _watch_store() -> None:
    """Watch the project's store."""
    try:
        store: Any = import_module(settings.SESSION_ENGINE).SessionStore
    except Exception:  # noqa: BLE001 - whoever uses it is told
        return
    for name, watched in (
        ("delete", _deleting),
        ("adelete", _deleting),
        ("cycle_key", _cycling_key),
        ("acycle_key", _cycling_key),
    ):
        method = getattr(store, name)
        if not hasattr(method, "_channels_watched"):
            wrapper = watched(method)
            wrapper._channels_watched = True
            setattr(store, name, wrapper)


def _database_of(session: Any) -> str | None:
    """The database whose transaction the session is changed in."""
    model = getattr(session, "model", None)
    return None if model is None else router.db_for_write(model)


def _ended(session: Any, key: str | None) -> None:
    if key and not _cycling.get():
        tell(ENDED, digest(key), _database_of(session))


def _renamed(session: Any, old: str | None) -> None:
    new = session.session_key
    if not old or not new or old == new:
        return
    if type(session).__module__.endswith("signed_cookies"):
        return  # its key is the whole cookie, and changes whenever it is saved
    tell(RENAMED, (digest(old), digest(new)), _database_of(session))


def _deleting(method: Callable[..., Any]) -> Any:
    if iscoroutinefunction(method):

        @functools.wraps(method)
        async def adelete(self: Any, session_key: str | None = None) -> None:
            key = session_key or self.session_key
            await method(self, session_key)
            _ended(self, key)

        return adelete

    @functools.wraps(method)
    def delete(self: Any, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        method(self, session_key)
        _ended(self, key)

    return delete


def _cycling_key(method: Callable[..., Any]) -> Any:
    if iscoroutinefunction(method):

        @functools.wraps(method)
        async def acycle_key(self: Any) -> None:
            old, token = self.session_key, _cycling.set(True)
            try:
                await method(self)
            finally:
                _cycling.reset(token)
            _renamed(self, old)

        return acycle_key

    @functools.wraps(method)
    def cycle_key(self: Any) -> None:
        old, token = self.session_key, _cycling.set(True)
        try:
            method(self)
        finally:
            _cycling.reset(token)
        _renamed(self, old)

    return cycle_key
