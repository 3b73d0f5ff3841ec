"""What a scope tells about where it comes from."""

from .types import Scope

__all__ = ["from_server"]


def from_server(scope: Scope) -> bool:
    """Whether a server made this scope, rather than a test or a worker.

    The ASGI specification requires every server to put ``asgi`` into the scope; communicators and
    workers do not. Errors that a server's client caused are answered and logged; a test or a
    worker gets them raised instead.
    """
    return "asgi" in scope
