import sys

from benchmarks.contenders import CONTENDERS, ENVIRONMENTS, versions
from benchmarks.servers import APPS


def test_every_contender_has_an_application_and_an_environment():
    for contender in CONTENDERS.values():
        assert (APPS / f"{contender.app}.py").exists()
        assert not contender.redis_app or (APPS / f"{contender.redis_app}.py").exists()
        assert contender.environment in ENVIRONMENTS


def test_versions_are_those_the_interpreter_sees():
    found = versions(sys.executable)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["channels"].startswith("5.")
    assert {"django", "asgiref", "uvicorn"} <= set(found)
