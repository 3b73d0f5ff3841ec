"""Servers are given the scripts on tasks with those of the layers."""

from channels.contrib.tasks.redis import scripts
from channels.layers.redis.scripts import SCRIPTS, load_scripts


def test_every_script_has_what_they_share_before_it():
    found = load_scripts(scripts.__name__, prelude="tasks_shared")
    assert {"tasks_enqueue", "tasks_fetch", "tasks_settle", "tasks_leave"} <= set(found)
    assert "tasks_shared" not in found
    for name, script in found.items():
        assert SCRIPTS[name] == script
        assert script.source.count(b"local function ring(queue)") == 1
