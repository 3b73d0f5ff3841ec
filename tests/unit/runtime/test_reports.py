import json

import pytest

from channels._runtime.reports import answer
from channels.contrib.health import Report, Result

WELL = Report({"disk": Result(True, 1.26, details={"free": 7})})
ILL = Report({"disk": Result(True, 1), "net": Result(False, 2, "naïve")})


@pytest.mark.parametrize(
    ("report", "status", "content"),
    [
        (
            WELL,
            200,
            {
                "status": "ok",
                "checks": {"disk": {"ok": True, "ms": 1.3, "error": None, "free": 7}},
            },
        ),
        (
            ILL,
            503,
            {
                "status": "unavailable",
                "checks": {
                    "disk": {"ok": True, "ms": 1, "error": None},
                    "net": {"ok": False, "ms": 2, "error": "naïve"},
                },
            },
        ),
    ],
)
async def test_the_answer(report, status, content):
    async def ask():
        return report

    given = await answer("GET", ask)
    assert given.status == status
    assert json.loads(given.body) == content
    assert given.headers["Content-Length"] == str(len(given.body))
    head = await answer("HEAD", ask)
    assert head == given._replace(body=b"")


@pytest.mark.parametrize("method", ["POST", "get", "", "CONNECT"])
async def test_other_methods_ask_nobody(method):
    async def ask():
        raise AssertionError("nobody is asked")

    given = await answer(method, ask)
    assert (given.status, given.headers["Allow"]) == (405, "GET, HEAD")


def test_nothing_checked_is_well():
    assert Report({}).ok
