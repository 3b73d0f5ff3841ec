"""Hears of tokens that are revoked: those of Django REST framework, and of simplejwt.

Only of what a row stands for: a token of ``authtoken`` that is deleted, and a token that simplejwt
puts on its list. Where the apps are not installed there is nothing to hear.
"""

from typing import Any

from django.apps import apps
from django.core.signals import setting_changed
from django.db.models.signals import post_delete, post_save

from ..security.tokens import DRFTokenVerifier
from .events import tell
from .finding import digest
from .plan import Plan
from .telling import TOKENS

__all__ = ["watch"]

_UID = "channels.revocation.tokens"

# What is heard of now: the models of tokens, and those of lists.
_tokens: list[type] = []
_lists: list[type] = []


def watch() -> None:
    """Begin to hear. To call it again changes nothing."""
    _watch_models()
    setting_changed.connect(_setting_changed, dispatch_uid=_UID)


def _setting_changed(setting: str, **kwargs: Any) -> None:
    if setting in ("CHANNELS_REVOCATION", "INSTALLED_APPS"):
        _watch_models()


def _watch_models() -> None:
    for model in _tokens:
        post_delete.disconnect(sender=model, dispatch_uid=_UID)
    for model in _lists:
        post_save.disconnect(sender=model, dispatch_uid=_UID)
    _tokens[:] = _models("rest_framework.authtoken", "Token")
    _lists[:] = _models("rest_framework_simplejwt.token_blacklist", "BlacklistedToken")
    for model in _tokens:
        post_delete.connect(_deleted, sender=model, dispatch_uid=_UID)
    for model in _lists:
        post_save.connect(_blocked, sender=model, dispatch_uid=_UID)


def _models(app: str, name: str) -> list[type]:
    """A model of an app and what derives from it, such as the proxy in the admin."""
    if Plan.in_force() is None:
        return []
    bases = tuple(it.get_model(name) for it in apps.get_app_configs() if it.name == app)
    return [model for model in apps.get_models() if issubclass(model, bases)]


def _deleted(instance: Any, using: str, **kwargs: Any) -> None:
    tell(TOKENS, digest(DRFTokenVerifier.token_id(instance)), using)


def _blocked(instance: Any, using: str, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw:
        tell(TOKENS, digest(instance.token.jti), using)
