"""What the runner makes of the suite's reports, and what the documentation says of them."""

import json

import pytest

from tests.servers import ROOT, SERVERS

from .autobahn import FILE, GROUPS, Run, Verdict, judge, page, run

PAGE = ROOT / "docs" / "reference" / "servers.md"


def entry(behavior="OK", close="OK", **report):
    """A case's entry in the index, and its own report."""
    common = {"behavior": behavior, "behaviorClose": close, "remoteCloseCode": 1000}
    return common, common | {
        "description": "Send a <b>message</b> |\n of length 0.",
        "received": [],
        "result": "Actual events differ from any expected.",
        "resultClose": "Connection was properly closed",
        **report,
    }


@pytest.fixture
def judged(tmp_path):
    """The verdicts for these entries, written as the suite writes them."""

    def judged(**entries):
        index = {}
        for number, (common, report) in enumerate(entries.values()):
            file = f"some_case_{number}.json"
            (tmp_path / file).write_text(json.dumps(report))
            index[f"1.1.{number}"] = common | {"reportfile": file}
        (tmp_path / "index.json").write_text(json.dumps({"some": index}))
        return list(judge(tmp_path).values())

    return judged


@pytest.mark.parametrize(
    ("behavior", "close", "outcome"),
    [
        ("OK", "OK", "passed"),
        ("OK", "INFORMATIONAL", "passed"),
        ("NON-STRICT", "OK", "non-strict"),
        ("INFORMATIONAL", "INFORMATIONAL", "informational"),
        ("UNIMPLEMENTED", "OK", "unimplemented"),
        ("FAILED", "OK", "failed"),
        ("OK", "FAILED", "failed"),
        ("OK", "UNCLEAN", "failed"),
        ("NON-STRICT", "WRONG CODE", "failed"),
        ("UNIMPLEMENTED", "FAILED BY CLIENT", "failed"),
    ],
)
def test_an_outcome_is_of_the_messages_and_of_the_end(judged, behavior, close, outcome):
    (verdict,) = judged(case=entry(behavior, close))
    assert verdict.outcome == outcome
    assert bool(verdict.reason) == (outcome == "failed")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (entry("FAILED"), "came back: nothing"),
        (
            entry("FAILED", received=[["message", "abc", False], ["message", "", True]]),
            "came back: a text message of length 3, a binary message of length 0",
        ),
        (
            entry("FAILED", received=[["pong", "ab"], ["timeout", "A"], ["closed"]]),
            "came back: pong of length 2, timeout of length 1, closed",
        ),
        (
            entry("FAILED", result="Case did not finish within 60 seconds."),
            "case did not finish within 60 seconds",
        ),
        (
            entry("OK", "WRONG CODE", resultClose="The code should have been 1007"),
            "the code should have been 1007, not 1000",
        ),
        (entry("OK", "UNCLEAN", resultClose="Not clean"), "not clean"),
    ],
)
def test_a_failure_has_a_reason_in_one_line(judged, failure, reason):
    assert judged(case=failure)[0].reason == f"Send a message of length 0: {reason}"


@pytest.fixture
def reported(tmp_path):
    """A folder in which the suite has left its reports for one case."""
    common, report = entry()
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "case.json").write_text(json.dumps(report))
    index = {"uvicorn": {"1.1.1": common | {"reportfile": "case.json"}}}
    (reports / "index.json").write_text(json.dumps(index))
    return tmp_path


def say(folder, planned):
    said = f"Testsuite Version 25.1.2 / Autobahn Version 0.1)\nOk, will run {planned} test cases\n"
    (folder / "wstest.log").write_text(said)


def test_what_is_reported_already_is_not_run_again(reported):
    say(reported, planned=1)
    found = run("no such command", "uvicorn", "consumer", ["*"], reported)
    assert found.suite == "25.1.2"
    assert found.server.startswith("uvicorn ")
    assert found.verdicts == {"1.1.1": Verdict("passed")}


def test_a_suite_that_ended_early_is_an_error(reported):
    say(reported, planned=2)
    with pytest.raises(RuntimeError, match="ended early on uvicorn"):
        run("no such command", "uvicorn", "consumer", ["*"], reported)


def test_the_page_counts_by_group_and_lists_failures_in_order():
    verdicts = {
        "9.1.1": Verdict("passed"),
        "10.1.1": Verdict("failed", "late: nothing"),
        "9.1.2": Verdict("failed", "large: nothing"),
        "9.1.3": Verdict("passed"),
    }
    text = page([Run("fast 1.0 with wire 2", "25.1", verdicts, frozenset({"9.1.2"}))], "2020-02-02")
    lines = text.splitlines()
    assert lines[0] == "As run on 2020-02-02, with autobahntestsuite 25.1:"
    assert "| | fast 1.0 with wire 2 |" in lines
    assert "| Framing (1) | not run |" in lines
    assert "| Limits and performance (9) | 2 passed, 1 failed |" in lines
    assert "| All | 2 passed, 2 failed |" in lines
    assert lines[-2:] == [
        "| fast | 9.1.2 | large: nothing | fails |",
        "| fast | 10.1.1 | late: nothing | **passes** |",
    ]


def test_the_page_says_when_nothing_was_compared():
    text = page([Run("fast 1.0", "25.1", {"1.1": Verdict("failed", "why")})], "2020-02-02")
    assert text.endswith("| fast | 1.1 | why | not tried |\n")


def test_a_page_without_failures_has_no_list():
    text = page([Run("fast 1.0", "25.1", {"1.1": Verdict("passed")})], "2020-02-02")
    assert "failed" not in text


def test_the_documentation_has_every_server_and_group():
    assert f"_static/{FILE.name}" in PAGE.read_text(encoding="utf-8")
    lines = FILE.read_text(encoding="utf-8").splitlines()
    servers = lines[2].split("|")[2:-1]
    assert [server.split()[0] for server in servers] == list(SERVERS)
    groups = [line.split(" | ")[0].removeprefix("| ") for line in lines[4 : 4 + len(GROUPS)]]
    assert groups == [f"{title} ({number})" for number, title in GROUPS.items()]
    assert "not run" not in "".join(lines)


def test_what_fails_in_the_documentation_is_the_servers():
    text = FILE.read_text(encoding="utf-8")
    assert "**passes**" not in text
    assert "not tried" not in text
