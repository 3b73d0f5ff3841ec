from benchmarks.contenders import ENVIRONMENTS
from benchmarks.tasks.contenders import CONTENDERS
from benchmarks.tasks.measure import PROJECT


def test_every_contender_has_tasks_and_an_environment():
    for contender in CONTENDERS.values():
        assert (PROJECT / f"{contender.module}.py").exists()
        assert contender.environment in ENVIRONMENTS
