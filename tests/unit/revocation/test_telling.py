"""What ends sign-ins is told in few commands, however much comes together."""

import asyncio
import threading

import pytest

from channels.control import handlers
from channels.control.plane import planes
from channels.revocation import telling
from channels.revocation.telling import ENDED, RENAMED, USERS, Bulletin
from tests.asgi import until


@pytest.fixture
async def told(monkeypatch):
    """The commands, and their values, as this process handles them."""
    told = []
    monkeypatch.setattr(handlers, "_handlers", {})
    for command in (ENDED, RENAMED, USERS):
        handlers.register(command, lambda values, command=command: told.append((command, values)))
    planes.get()
    yield told
    planes.pop()


async def test_what_comes_together_is_one_command(told):
    bulletin = Bulletin()
    for key in ("1", "2", "1"):
        bulletin.add(USERS, key)
    await until(lambda: told)
    assert told == [(USERS, ["1", "2"])]
    bulletin.add(USERS, "3")
    await until(lambda: len(told) == 2)
    assert told[1] == (USERS, ["3"])


async def test_ten_thousand_users_are_ten_commands_of_bounded_size(told):
    bulletin = Bulletin()

    def delete():
        for number in range(10_000):
            bulletin.add(USERS, str(number))

    await asyncio.to_thread(delete)
    await until(lambda: sum(len(values) for _, values in told) == 10_000)
    assert all(len(values) <= 1000 for _, values in told)
    assert len(told) <= 20
    assert {key for _, values in told for key in values} == {str(n) for n in range(10_000)}


async def test_a_session_gets_its_new_key_before_it_ends_under_it(told):
    bulletin = Bulletin()
    bulletin.add(ENDED, "new")
    bulletin.add(RENAMED, ("old", "new"))
    await until(lambda: len(told) == 2)
    assert [command for command, _ in told] == [RENAMED, ENDED]


async def test_from_many_threads_nothing_is_lost(told, monkeypatch):
    monkeypatch.setattr(telling, "_WINDOW", 0.001)
    bulletin = Bulletin()

    def add(first):
        for number in range(first, first + 500):
            bulletin.add(USERS, str(number))

    threads = [threading.Thread(target=add, args=(500 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: len({key for _, values in told for key in values}) == 2000)
    for thread in threads:
        thread.join()
    assert not any(bulletin._waiting.values())
