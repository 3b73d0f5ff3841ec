"""The fixtures of :mod:`.harness`."""

from .harness import cluster, replicated

__all__ = ["cluster", "replicated"]
