"""What tasks are called at a server. ``docs/internals/redis-keys.md`` tells what each key holds.

All processes of a project must agree on it, those of the next version as well. Scripts spell the
names of what a queue consists of: ``scripts/tasks_shared.lua``.
"""

__all__ = ["bell_key", "dead_key", "queue_key", "root_key", "task_key"]


def root_key(base: str, alias: str) -> str:
    """What all keys of one backend begin with, in one partition."""
    return f"{base}:tasks:{alias}"


def task_key(root: str, task_id: str) -> str:
    """The hash with all that is known of a task."""
    return f"{root}:t:{task_id}"


def queue_key(root: str, queue: str) -> str:
    """What all keys of a queue begin with."""
    return f"{root}:q:{queue}"


def bell_key(root: str, queue: str) -> str:
    """The list at which idle workers wait."""
    return f"{queue_key(root, queue)}:bell"


def dead_key(root: str, queue: str) -> str:
    """The sorted set of dead letters."""
    return f"{queue_key(root, queue)}:dead"
