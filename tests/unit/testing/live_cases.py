"""Tests of a site on the live server. They pass on every database; ``test_live.py`` runs them."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.request import urlopen

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import override_settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from channels.layers import get_channel_layer
from channels.testing import ChannelsLiveServerTestCase
from channels.testing.server import GRACE

from . import live_site

__all__ = ["SITE", "LifeCycle", "SharedData"]

SITE = {
    "ASGI_APPLICATION": "tests.unit.testing.live_site.application",
    "ROOT_URLCONF": "tests.unit.testing.live_site",
    "STATIC_URL": "static/",
    "ALLOWED_HOSTS": [],
}
SOCKETS = 6
MESSAGES = 8


class LiveCase(ChannelsLiveServerTestCase):
    def open(self, path: str, **options) -> ClientConnection:
        return self.enterContext(connect(f"{self.live_server_ws_url}/{path}", **options))

    def get(self, path: str) -> str:
        with urlopen(f"{self.live_server_url}/{path}", timeout=10) as response:
            return response.read().decode()


@override_settings(**SITE)
class SharedData(LiveCase):
    """The server and the test see the same database and the same layer."""

    def test_pages_see_what_the_test_wrote(self):
        Group.objects.create(name="cooks")
        assert self.get("names/") == "cooks"
        assert self.get("async/names/") == "cooks"

    async def test_an_asynchronous_test_sees_the_same(self):
        await Group.objects.acreate(name="cooks")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(self.get, "names/").result() == "cooks"

    def test_the_test_sees_what_consumers_wrote(self):
        for path in ("sync/", "async/"):
            socket = self.open(path)
            socket.send(path)
            assert socket.recv(timeout=10) == path
            assert Group.objects.filter(name=f"{path}-b").exists()

    def test_transactions_of_all_threads_stay_apart(self):
        def talk(number: int) -> None:
            path = "sync" if number % 2 else "async"
            with connect(f"{self.live_server_ws_url}/{path}/") as socket:
                for message in range(MESSAGES):
                    name = f"{'any' if message % 2 else 'sensitive'}-{number}-{message}"
                    socket.send(name)
                    assert socket.recv(timeout=30) == name
                    assert f"{name}-b" in self.get("names/")

        with ThreadPoolExecutor(SOCKETS) as pool:
            talks = [pool.submit(talk, number) for number in range(SOCKETS)]
            for number in range(30):
                live_site.add_group(f"test-{number}")
                assert not connection.in_atomic_block
            for one in talks:
                one.result()
        found = Group.objects.exclude(name__startswith="left")
        names = set(found.values_list("name", flat=True))
        assert len(names) == 2 * (30 + SOCKETS * MESSAGES)
        assert not [name for name in names if not name.endswith(("-a", "-b"))]

    def test_synchronous_handlers_run_on_the_pool_as_behind_any_server(self):
        socket = self.open("sync/")
        socket.send("thread")
        assert "channels-sync" in socket.recv(timeout=10)

    def test_sockets_hear_what_the_test_sends_to_a_group(self):
        socket = self.open("async/")
        socket.send("here")
        socket.recv(timeout=10)
        message = {"type": "news.line", "text": "Soup is ready"}
        async_to_sync(get_channel_layer().group_send)("news", message)
        assert socket.recv(timeout=10) == "Soup is ready"

    def test_who_the_test_signed_in_is_the_socket_s_user(self):
        self.client.force_login(User.objects.create_user("dora"))
        cookie = f"sessionid={self.client.cookies['sessionid'].value}"
        socket = self.open("who/", additional_headers={"Cookie": cookie})
        assert json.loads(socket.recv(timeout=10)) == "dora"

    def test_on_commit_runs_after_the_transaction_of_its_own_thread(self):
        called = []
        with transaction.atomic():
            transaction.on_commit(lambda: called.append(connection.in_atomic_block))
            assert called == []
        assert called == [False]


@override_settings(**SITE)
class LifeCycle(LiveCase):
    """What is open at the end of a test is closed before the next."""

    left_open: list[ClientConnection] = []
    clients: ExitStack
    urls: set[str] = set()

    @classmethod
    def setUpClass(cls):
        live_site.ended.clear()
        live_site.lifespan.clear()
        cls.left_open.clear()
        cls.clients = cls.enterClassContext(ExitStack())
        super().setUpClass()
        cls.urls = {cls.live_server_url}
        assert cls.live_server_ws_url == cls.live_server_url.replace("http", "ws")

    def leave_sockets_open(self):
        for path in ("sync/", "async/"):
            socket = self.clients.enter_context(connect(f"{self.live_server_ws_url}/{path}"))
            socket.send(path)
            socket.recv(timeout=10)
            self.left_open.append(socket)

    def test_1_leaves_sockets_open(self):
        self.leave_sockets_open()

    def test_2_begins_with_an_empty_database_and_closed_sockets(self):
        assert sorted(live_site.ended) == [("async", 1012), ("sync", 1012)]
        assert not Group.objects.exists()
        for socket in self.left_open:
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=10)
            assert closed.value.rcvd.code == 1012

    def test_3_has_the_same_server(self):
        assert {self.live_server_url} == self.urls
        assert live_site.lifespan == ["startup"]

    def test_4_leaves_a_response_unfinished(self):
        live_site.ended.clear()
        self.left_open.clear()
        url = f"{self.live_server_url}/forever/"
        response = self.clients.enter_context(urlopen(url, timeout=10))
        assert response.readline() == b"tick\n"

    def test_5_begins_when_it_has_been_interrupted(self):
        assert live_site.ended == [("forever", 0)]

    def test_6_leaves_a_thread_asleep(self):
        live_site.ended.clear()
        socket = self.clients.enter_context(connect(f"{self.live_server_ws_url}/sync/"))
        socket.send(f"sleep {1.5 * GRACE}")
        socket.recv(timeout=10)

    def test_7_begins_when_it_has_woken_and_gone(self):
        assert live_site.ended == [("slept", 0), ("sync", 1012)]
        assert not Group.objects.exists()

    def test_8_leaves_sockets_open_at_the_end_of_the_class(self):
        live_site.ended.clear()
        self.left_open.clear()
        self.leave_sockets_open()
