import os
import sys

import pytest

from benchmarks.load import Load
from benchmarks.scenarios import Scenario, Traffic
from benchmarks.servers import Server

pytestmark = pytest.mark.server


def test_a_server_serves_and_is_gone_afterwards():
    with Server(sys.executable, "bare_asgi") as server, Load(server.port) as load:
        before = server.cpu_seconds()
        tally = Traffic(load, Scenario("echo", path="/echo/", rooms=4, in_flight=4)).run(0.3)
        assert tally.lost == 0
        assert 0 < server.cpu_seconds() - before < 1
        assert server.log == ""
    with pytest.raises(ProcessLookupError):
        os.kill(server.process.pid, 0)


def test_a_server_that_does_not_start_says_why():
    with pytest.raises(RuntimeError, match="no_such_app"), Server(sys.executable, "no_such_app"):
        pass
