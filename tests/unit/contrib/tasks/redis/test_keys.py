"""What keys are called is what the documentation says."""

from pathlib import Path

import channels
from channels.contrib.tasks.redis.keys import bell_key, dead_key, queue_key, root_key, task_key

PAGE = Path(channels.__file__).parents[2] / "docs" / "internals" / "redis-keys.md"


def test_the_names_are_documented():
    page, root = PAGE.read_text("utf-8"), root_key("{asgi:0}", "<alias>")
    assert f"`{root}`" in page
    for key in (task_key(root, "<id>"), bell_key(root, "<queue>"), dead_key(root, "<queue>")):
        assert f"`{key.removeprefix(root)}`" in page


def test_names_of_queues_and_tasks_are_kept_apart():
    root = root_key("{asgi:0}", "default")
    assert task_key(root, "a:dead") != dead_key(root, "a")
    assert queue_key(root, "a") != task_key(root, "a")
