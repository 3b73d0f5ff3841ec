"""What ends sign-ins is heard of, whatever the session engine."""

from importlib import import_module

import pytest


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file", "signed_cookies"])
def test_stores_are_watched_once(engine, settings):
    name = f"django.contrib.sessions.backends.{engine}"
    for _ in range(2):
        settings.SESSION_ENGINE = name
        store = import_module(name).SessionStore
        assert hasattr(store.delete, "_channels_watched")
        assert not hasattr(getattr(store.delete, "__wrapped__"), "_channels_watched")  # noqa: B009
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"


def test_an_engine_that_cannot_be_imported_is_told_to_its_users(settings):
    settings.SESSION_ENGINE = "nowhere.at.all"
    with pytest.raises(ImportError):
        import_module(settings.SESSION_ENGINE)
