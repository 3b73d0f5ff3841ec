"""What ends sign-ins is heard of, with any session engine and user model, and nothing else."""

import asyncio
import threading
from importlib import import_module
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.forms import AdminPasswordChangeForm
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from channels.control.plane import planes
from channels.revocation import events
from channels.revocation.finding import digest
from channels.revocation.telling import ENDED, RENAMED, USERS

ENGINES = ("db", "cached_db", "cache", "file", "signed_cookies")


@pytest.fixture
def told(monkeypatch):
    """What would be told to all processes; there is one that hears it."""
    told = []
    monkeypatch.setattr(events, "bulletin", SimpleNamespace(add=lambda *what: told.append(what)))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(_serve(), loop).result(5)
    yield told
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


async def _serve():
    planes.get()


@pytest.fixture
def user():
    return get_user_model().objects.create_user("anna", password="secret")


def new_session(engine="db"):
    session = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore()
    session["some"] = "data"
    session.save()
    return session


class TestStores:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_each_is_watched_once(self, engine, settings):
        name = f"django.contrib.sessions.backends.{engine}"
        for _ in range(2):
            settings.SESSION_ENGINE = name
            store = import_module(name).SessionStore
            assert hasattr(store.delete, "_channels_watched")
            assert not hasattr(getattr(store.delete, "__wrapped__"), "_channels_watched")  # noqa: B009
            settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"

    def test_an_engine_that_cannot_be_imported_is_told_to_its_users(self, settings):
        settings.SESSION_ENGINE = "nowhere.at.all"
        with pytest.raises(ImportError):
            import_module(settings.SESSION_ENGINE)

    @pytest.mark.django_db(transaction=True)
    def test_an_engine_of_the_project_is_watched_too(self, settings, told):
        settings.SESSION_ENGINE = __name__
        session = SessionStore()
        session.save()
        key = session.session_key
        session.delete()
        assert session.deleted == [key]
        assert (ENDED, digest(key)) in told

    @pytest.mark.django_db(transaction=True)
    def test_the_end_of_a_session_and_another_key(self, told):
        session = new_session()
        old = session.session_key
        session.cycle_key()
        new = session.session_key
        assert told == [(RENAMED, (digest(old), digest(new)))]
        session.flush()
        assert told[1:] == [(ENDED, digest(new))]

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("method", ["acycle_key", "aflush"])
    def test_the_asynchronous_methods(self, told, method):
        session = new_session()
        old = session.session_key
        async_to_sync(getattr(session, method))()
        command, value = (
            (RENAMED, (digest(old), digest(session.session_key)))
            if method == "acycle_key"
            else (ENDED, digest(old))
        )
        assert set(told) == {(command, value)}

    @pytest.mark.django_db(transaction=True)
    def test_nothing_of_a_session_that_has_no_key_yet(self, told):
        session = import_module("django.contrib.sessions.backends.db").SessionStore()
        session.flush()
        session.cycle_key()
        assert told == []

    @pytest.mark.django_db(transaction=True)
    def test_nothing_while_it_is_switched_off(self, told, settings):
        settings.CHANNELS_REVOCATION = None
        new_session().flush()
        assert told == []


class SessionStore(import_module("django.contrib.sessions.backends.db").SessionStore):
    """An engine of a project."""

    def __init__(self, *args):
        super().__init__(*args)
        self.deleted = []

    def delete(self, session_key=None):
        self.deleted.append(session_key or self.session_key)
        super().delete(session_key)


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    @pytest.mark.parametrize("engine", ["db", "cached_db"])
    def test_what_is_rolled_back_was_never_said(self, told, engine, user):
        session = new_session(engine)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            session.flush()
            user.delete()
            raise ZeroDivisionError
        assert told == []

    def test_it_is_the_transaction_of_the_users_database(self, told, monkeypatch):
        used = []
        monkeypatch.setattr(
            transaction, "on_commit", lambda tell, using, robust: used.append(using)
        )
        post_save.send(User, instance=User(pk=7), using="other", created=False)
        assert used == ["other"]

    def test_what_a_savepoint_takes_back_was_never_said_either(self, told, user):
        with transaction.atomic():
            user.save()
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                new_session().flush()
                raise ZeroDivisionError
            assert told == []
        assert told == [(USERS, str(user.pk))]

    def test_a_store_without_transactions_ends_sessions_at_once(self, told, settings):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        session = new_session("cache")
        key = session.session_key
        with transaction.atomic():
            session.flush()
            assert told == [(ENDED, digest(key))]


def change_as_admin(user):
    new = {"password1": "a-new-Secret7", "password2": "a-new-Secret7"}
    form = AdminPasswordChangeForm(user, new)
    assert form.is_valid()
    form.save()


@pytest.mark.django_db(transaction=True)
class TestUsers:
    def heard(self, told):
        found = [value for command, value in told if command == USERS]
        told.clear()
        return found

    @pytest.mark.parametrize(
        "change",
        [
            lambda user: user.save(),
            lambda user: user.save(update_fields=["password"]),
            lambda user: user.delete(),
            lambda user: User.objects.filter(pk=user.pk).delete(),
            change_as_admin,
            lambda user: async_to_sync(user.asave)(),
        ],
        ids=["save", "save the password", "delete", "delete a queryset", "admin", "asave"],
    )
    def test_a_change(self, told, user, change):
        key = str(user.pk)
        change(user)
        assert set(self.heard(told)) == {key}

    @pytest.mark.parametrize(
        "change",
        [
            lambda user: User.objects.create_user("bert"),
            lambda user: user.save(update_fields=["last_login"]),
            lambda user: Group.objects.create(name="editors"),
            lambda user: User.objects.filter(pk=user.pk).update(is_active=False),
            lambda user: User.objects.bulk_update([user], ["is_active"]),
        ],
        ids=["a new one", "a sign-in", "another model", "update", "bulk_update"],
    )
    def test_what_is_no_change_or_sends_no_signal(self, told, user, change):
        change(user)
        assert self.heard(told) == []

    def test_a_proxy_of_the_model(self, told, user, editors):
        editors.objects.get().save()
        assert self.heard(told) == [str(user.pk)]

    @pytest.fixture
    def editors(self):
        meta = type("Meta", (), {"proxy": True, "app_label": "auth"})
        model = type("Editor", (User,), {"__module__": __name__, "Meta": meta})
        events.watch()  # of a model that was made after the start
        yield model
        del apps.all_models["auth"]["editor"]
        apps.clear_cache()
        events.watch()

    def test_deletions_of_other_models_stay_as_fast_as_they_are(self, settings):
        assert post_delete.has_listeners(User)
        for model in (Session, Group):
            assert not post_delete.has_listeners(model)
            assert not post_save.has_listeners(model)
        settings.CHANNELS_REVOCATION = None
        assert not post_delete.has_listeners(User)
        assert not post_save.has_listeners(User)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_told_where_nobody_hears_it(monkeypatch, user):
    told = []
    monkeypatch.setattr(events, "bulletin", SimpleNamespace(add=lambda *what: told.append(what)))
    for loop, _ in planes.all():
        assert not loop.is_running()
    user.save()
    assert told == []
