"""Tells supervisors whether a worker is well: by a file that it touches, and over HTTP.

A worker is well when its event loop turns, none of its listeners is failing, and its channel layer
carries messages. If the loop does not turn, the file grows old and nothing answers.
"""

import asyncio
import contextlib
import logging
import os
import time
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from .._runtime import lograte, timers
from .._runtime.reports import Report, Result, answer
from ..exceptions import InvalidWorkerOption
from ..layers.probe import carries_messages

__all__ = ["Health", "Watched"]

logger = logging.getLogger("channels.worker")


# Seconds that a message through the channel layer may take, and a request until it is complete.
_TIMEOUT = 2.0

# Clients at a time; the port may be open to strangers.
_CLIENTS = 20


class Watched(Protocol):
    """A worker, as far as its health goes."""

    @property
    def channel_layer(self) -> Any:
        """What has to carry messages."""

    @property
    def health_file(self) -> str | os.PathLike[str] | None:
        """Touched while all is well."""

    @property
    def health_host(self) -> str | None:
        """Where to listen; None for all addresses."""

    @property
    def health_port(self) -> int | None:
        """Where to answer."""

    @property
    def health_interval(self) -> float:
        """Seconds from one look to the next."""

    @property
    def failing(self) -> list[str]:
        """What does not work at this moment."""


class Health:
    """The health of one worker, told as long as the ``async with`` block lasts.

    Args:
        worker: whose ``health_file``, ``health_host`` and ``health_port`` say where to tell it.

    Raises:
        InvalidWorkerOption: on entering, when the file cannot be written, or the port is taken.
    """

    def __init__(self, worker: Watched) -> None:
        self._worker = worker
        self._path = None if worker.health_file is None else Path(worker.health_file)
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._clients = 0
        self._broker = Result(False, error="not asked yet")
        self._was_well = True

    async def __aenter__(self) -> Self:
        port = self._worker.health_port
        if self._path is not None:
            self._create(self._path)
        if port is not None:
            try:
                self._server = await asyncio.start_server(
                    self._serve, self._worker.health_host, port, limit=4096
                )
            except OSError as error:
                self._remove()
                raise InvalidWorkerOption(
                    f"The health port {port} cannot be listened on: {error}"
                ) from error
        if self._path is not None or port is not None:
            self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        self._remove()

    async def alive(self) -> Report:
        """That the event loop turns."""
        return Report({"process": Result(True, details={"pid": os.getpid()})})

    async def report(self) -> Report:
        """How the worker is."""
        failing = self._worker.failing
        error = f"failing: {', '.join(failing)}" if failing else None
        return Report({"listeners": Result(not failing, error=error), "broker": self._broker})

    async def _watch(self) -> None:
        """Ask the channel layer again and again, and touch the file while all is well."""
        while True:
            self._broker = await self._ask()
            report = await self.report()
            self._log(report)
            if report.ok and self._path is not None:
                self._touch(self._path)
            await timers.sleep(self._worker.health_interval)

    async def _ask(self) -> Result:
        """Whether the channel layer carries messages."""
        started = time.perf_counter()
        error: str | None
        try:
            async with timers.timeout(_TIMEOUT):
                carried = await carries_messages(self._worker.channel_layer)
            error = None if carried else "the layer delivered another message than was sent"
        except TimeoutError:
            error = f"no answer within {_TIMEOUT:g} s"
        except Exception as failure:
            # Strangers may read it; the text may name hosts, and the log has it.
            error = type(failure).__name__
            logger.debug("The channel layer of the worker fails", exc_info=failure)
        return Result(error is None, (time.perf_counter() - started) * 1000, error)

    def _log(self, report: Report) -> None:
        """Tell of a change."""
        if report.ok and not self._was_well:
            logger.info("The worker is well again")
        elif not report.ok and self._was_well:
            checks = report.checks.items()
            errors = [f"{name}: {check.error}" for name, check in checks if not check.ok]
            logger.warning("The worker is not well: %s", "; ".join(errors))
        self._was_well = report.ok

    # The file

    def _create(self, path: Path) -> None:
        try:
            path.write_text(f"{os.getpid()}\n", "ascii")
        except OSError as error:
            raise InvalidWorkerOption(
                f"The health file {path} cannot be written: {error.strerror}"
            ) from error

    def _touch(self, path: Path) -> None:
        try:
            path.touch()
        except OSError as error:
            text = "The health file %s cannot be touched: %s"
            lograte.log(logger, logging.ERROR, "health file", text, str(path), str(error))

    def _remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()

    # The port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self._clients += 1
        try:
            if self._clients <= _CLIENTS:
                async with timers.timeout(_TIMEOUT):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(await self._respond(head))
                    await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # it has left, is too slow, or does not speak HTTP
        finally:
            self._clients -= 1
            writer.close()

    async def _respond(self, head: bytes) -> bytes:
        """The response to the head of a request."""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0].rstrip("/")
        ask = {"/healthz": self.report, "/livez": self.alive}.get(path)
        if ask is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        status, headers, body = await answer(method, ask)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body
