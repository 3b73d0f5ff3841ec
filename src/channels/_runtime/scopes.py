"""What a scope tells about where it comes from."""

from .types import Scope

__all__ = ["CHALLENGE", "CREDENTIAL", "SHARED", "below_root", "from_server", "shares_connection"]

#: Key of a scope whose client has no TCP connection of its own: it comes with one request after
#: the other.
SHARED = "channels.shared"

#: Key of a scope: what a refusal with 401 says of the credentials that would do, as bytes, for the
#: header ``WWW-Authenticate``. Who reads credentials other than cookies puts it there.
CHALLENGE = "channels.challenge"

#: Key of a scope: the :class:`~.types.Credential` that has let the client in, if it was one that
#: may expire and be refreshed.
CREDENTIAL = "channels.credential"


def from_server(scope: Scope) -> bool:
    """Whether a server made this scope, rather than a test or a worker.

    The ASGI specification requires every server to put ``asgi`` into the scope; communicators and
    workers do not. Errors that a server's client caused are answered and logged; a test or a
    worker gets them raised instead.
    """
    return "asgi" in scope


def shares_connection(scope: Scope) -> bool:
    """Whether other requests may share the client's connection, as they do from HTTP/2 on."""
    return SHARED in scope or str(scope.get("http_version", "1.1")) not in {"1.0", "1.1"}


def below_root(scope: Scope) -> str:
    """The path without ``root_path``, which servers include (ASGI specification) or leave out."""
    path: str = scope["path"].rstrip("/")
    root = (scope.get("root_path") or "").rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
