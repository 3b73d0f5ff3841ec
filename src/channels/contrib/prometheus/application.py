"""The metrics as an ASGI application, in front of another one."""

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.utils.crypto import constant_time_compare

from ..._runtime.denial import deny
from ..._runtime.scopes import below_root
from ..._runtime.types import ASGIApplication, Receive, Scope, Send
from ...routing import ProtocolTypeRouter
from .client import (
    CollectorRegistry,
    InvalidMetrics,
    MultiProcessCollector,
    choose_encoder,
    mark_process_dead,
)
from .listening import MULTIPROCESS, metrics

__all__ = ["MetricsApplication"]

# What a proxy adds. A request that has one was not sent by the machine that its address names.
_FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})


class MetricsApplication:
    """Answers one path over HTTP with the metrics, and passes everything else on.

    Args:
        inner: what everything else is for. Without one, it is answered with 404.
        path: the whole path of the metrics, below ``root_path``.
        token: what Prometheus has to send as ``Authorization: Bearer <token>``.
        networks: the addresses that may read, such as ``["10.0.0.0/8"]``; none that comes through
            a proxy may. With a token, both are required.
        public: anybody may read.

    Raises:
        InvalidMetrics: at construction, when nothing says which clients may read the metrics, or
            the app is not in ``INSTALLED_APPS``.
    """

    def __init__(
        self,
        inner: ASGIApplication | None = None,
        *,
        path: str = "/metrics",
        token: str | None = None,
        networks: Iterable[str] | None = None,
        public: bool = False,
    ) -> None:
        self._listener = metrics()
        if not path.startswith("/"):
            raise InvalidMetrics(f"A path must start with a slash; {path!r} does not.")
        if (token is None and networks is None) is not public:
            raise InvalidMetrics(
                "MetricsApplication must be told which clients may read the metrics: give it a "
                'token="...", networks=["10.0.0.0/8"], or public=True'
            )
        if token is not None and not (token and token.isascii()):
            raise InvalidMetrics("The token of MetricsApplication must be a text in ASCII.")
        if isinstance(networks, str):
            raise InvalidMetrics(f"networks must be a list, not the text {networks!r}.")
        self.inner: ASGIApplication = ProtocolTypeRouter({}) if inner is None else inner
        self._path = path.rstrip("/")
        self._token = token
        try:
            self._networks = (
                None if networks is None else [ipaddress.ip_network(each) for each in networks]
            )
        except ValueError as error:
            raise InvalidMetrics(f"networks of MetricsApplication: {error}") from error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Answer, or run the inner application."""
        if scope["type"] != "http" or below_root(scope) != self._path:
            return await self.inner(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            status, reason, headers = refusal
            await deny(
                scope, send, status=status, reason=reason, sender=type(self), headers=headers
            )
            return None
        accept = _header(scope, b"accept")
        body, kind = await asyncio.to_thread(self._render, accept)
        headers = [
            (b"content-type", kind.encode("ascii")),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else body
        return await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """The status, the reason and the headers of a refusal, if this request is to be refused."""
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, "metrics can only be read", [(b"allow", b"GET, HEAD")]
        if self._networks is not None and not self._is_near(scope):
            return 403, "the metrics are not for this address", []
        if self._token is not None:
            given = _header(scope, b"authorization")
            if not constant_time_compare(given, f"Bearer {self._token}"):
                return 401, "no valid token for the metrics", [(b"www-authenticate", b"Bearer")]
        return None

    def _is_near(self, scope: Scope) -> bool:
        client = scope.get("client")
        if not client or any(name.lower() in _FORWARDED for name, _ in scope["headers"]):
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks or ())

    def _render(self, accept: str) -> tuple[bytes, str]:
        """The metrics of this process, or of all that share a folder; and their content type."""
        self._listener.mirror.refresh()
        registry = self._listener.metrics.registry
        folder = os.environ.get(MULTIPROCESS)
        if folder is not None:
            _forget_the_dead(Path(folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        encoder, kind = choose_encoder(accept)
        return encoder(registry), kind


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _forget_the_dead(folder: Path) -> None:
    """Drop the gauges of processes that have ended without a word."""
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        if pid.isdecimal() and not _is_alive(int(pid)):
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                mark_process_dead(int(pid), str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is another user's
    return True
