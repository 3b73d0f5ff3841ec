"""Imports the tasks of a project before the first of them is run."""

import logging
from importlib import import_module

from django.apps import apps
from django.utils.module_loading import module_has_submodule

__all__ = ["import_tasks"]

logger = logging.getLogger("channels.tasks")


def import_tasks() -> list[str]:
    """Import the module ``tasks`` of each installed application that has one.

    A worker finds every task by its path, wherever it is. What is imported here is imported before
    an event loop runs, where a module may still query the database. One that cannot be imported is
    logged, and its tasks fail; others go on.

    Returns:
        The names of the modules that were imported.
    """
    imported = []
    for config in apps.get_app_configs():
        name = f"{config.name}.tasks"
        if config.module is None or not module_has_submodule(config.module, "tasks"):
            continue
        try:
            import_module(name)
        except (Exception, SystemExit):
            logger.exception("The tasks in %s cannot be imported, and fail here", name)
        else:
            imported.append(name)
    return imported
