"""Every atomic operation on tasks, one Lua script to a file, after what they share."""

from channels.layers.redis.scripts import SCRIPTS, load_scripts

__all__: list[str] = []

# Servers are given them with those of the layers, when they are first needed.
SCRIPTS.update(load_scripts(__name__, prelude="tasks_shared"))
