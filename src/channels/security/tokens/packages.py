"""Packages that only some verifiers need."""

from importlib import import_module
from typing import Any

from django.core.exceptions import ImproperlyConfigured

__all__ = ["package"]


def package(module: str, verifier: object, install: str) -> Any:
    """Import a module of a package that may be missing.

    Raises:
        ImproperlyConfigured: it is; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"{type(verifier).__name__} needs a package that is missing ({error}): "
            f'pip install "{install}"'
        ) from error
