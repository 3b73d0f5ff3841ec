"""What checks found, and how HTTP says it."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

__all__ = ["Answer", "Report", "Result", "answer"]


@dataclass(frozen=True, slots=True)
class Result:
    """What one check found.

    Args:
        ok: whether all is well.
        ms: how long it took, in milliseconds.
        error: what is wrong, or None. Anyone may read it: it holds no secrets.
        details: more figures, by name.
    """

    ok: bool
    ms: float = 0.0
    error: str | None = None
    details: Mapping[str, float | int | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "ms": round(self.ms, 1), "error": self.error, **self.details}


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found, by name."""

    checks: Mapping[str, Result]

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(result.ok for result in self.checks.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": "ok" if self.ok else "unavailable",
            "checks": {name: result.as_dict() for name, result in self.checks.items()},
        }


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


async def answer(method: str, ask: Callable[[], Awaitable[Report]]) -> Answer:
    """The response to a request for a report: 200 if all is well, else 503.

    Args:
        method: of the request. For any but GET and HEAD the answer is 405, and nobody is asked.
        ask: for the report.
    """
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if method in {"GET", "HEAD"}:
        report = await ask()
        status = HTTPStatus.OK if report.ok else HTTPStatus.SERVICE_UNAVAILABLE
        content = report.as_dict()
    else:
        status = HTTPStatus.METHOD_NOT_ALLOWED
        headers["Allow"] = "GET, HEAD"
        content = {"status": "method not allowed", "checks": {}}
    body = json.dumps(content).encode("ascii")
    headers["Content-Length"] = str(len(body))
    return Answer(status.value, headers, b"" if method == "HEAD" else body)
