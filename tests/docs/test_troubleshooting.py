"""The page on troubleshooting names every message that the source can show, and no other."""

import re
from pathlib import Path

import pytest

from .messages import Message, messages_in, plain

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "troubleshooting.md").read_text("utf-8")
GLOSSARY = re.compile(r"^```\{glossary\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)

TERMS = [
    line
    for block in GLOSSARY.findall(PAGE)
    for line in block.splitlines()
    if line and not line.startswith(" ")
]
"""What a reader looks for: each is a line of its own, and has an anchor."""

PUT_TOGETHER = (
    *(f"{kind} name must be" for kind in ("Channel", "Group", "Collection", "Field")),
    "it asks for …",
)
"""How the messages begin that the source makes of parts which nothing here can follow."""


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    """Every message of the source."""
    return messages_in(ROOT / "src")


@pytest.fixture(scope="module")
def checks(messages: list[Message]) -> set[str]:
    """The identifiers of its system checks."""
    return {message.check for message in messages} - {""}


def test_every_message_of_the_source_is_on_the_page(messages: list[Message]) -> None:
    missing = [
        str(message) for message in messages if not any(message.is_in(term) for term in TERMS)
    ]
    assert missing == [], "Describe them in docs/howto/troubleshooting.md:\n" + "\n".join(missing)


def test_every_check_is_on_the_page_with_its_identifier(checks: set[str]) -> None:
    named = {term.partition(":")[0].lstrip("`") for term in TERMS if term.startswith("`channels.")}
    assert named == checks


def test_every_message_of_the_page_is_in_the_source(
    messages: list[Message], checks: set[str]
) -> None:
    stale = [
        term
        for term in map(plain, TERMS)
        if not any(message.is_in(term) for message in messages)
        and term.partition(":")[0] not in checks
        and not term.startswith(PUT_TOGETHER)
    ]
    assert stale == []


def test_no_message_is_described_twice() -> None:
    assert [term for term in TERMS if TERMS.count(term) > 1] == []


def test_the_source_is_read_in_full(messages: list[Message], checks: set[str]) -> None:
    """A change of the code that hides its messages from these tests is noticed."""
    assert len(messages) > 250
    assert len(checks) >= 22


class TestMessages:
    """What finds the messages finds all the ways in which they are written."""

    @pytest.mark.parametrize(
        ("code", "texts"),
        [
            ("raise ValueError('It is wrong')", ["It is wrong"]),
            ("raise ValueError(f'{name!r} is ' f'wrong')", ["… is wrong"]),
            ("raise ValueError('It went ' + how)", ["It went …"]),
            ("why = 'It is wrong'\nraise ValueError(why)", ["It is wrong"]),
            ("why = 'It is wrong' if a else 'It is bad'\nraise ValueError(why)", 2),
            ("class Own(ValueError): ...\nclass Mine(Own): ...\nerror = Mine('It is wrong')", 1),
            ("def f():\n    raise ValueError(g())\ndef g():\n    return 'It is wrong'", 1),
            ("raise ValueError(f'{problem}; {advice}')", []),
            ("problem = 'It is wrong'\nraise ValueError(f'{problem}; {more}')", ["It is wrong"]),
            ("raise ValueError", []),
            ("logger.warning('%s is wrong', name)", ["… is wrong"]),
            ("logger.exception('It went %d', 1)", ["It went …"]),
            ("logger.info('It is well')", []),
            ("logger.log(logging.ERROR if a else logging.INFO, '%.1f s late', 1)", ["… s late"]),
            ("lograte.log(logger, level, 'stalled', '%s is wrong', name)", 1),
            ("warnings.warn('It is old', DeprecationWarning)", ["It is old"]),
            ("await deny(scope, send, status=403, reason='nobody may come in')", 1),
            ("from django.core.checks import Error\nError('It is wrong', id='a.E001')", 1),
            ("future.exception()", []),
        ],
    )
    def test_texts(self, tmp_path: Path, code: str, texts: list[str] | int) -> None:
        (tmp_path / "module.py").write_text(code)
        found = [message.text for message in messages_in(tmp_path)]
        assert (len(found) if isinstance(texts, int) else found) == texts

    def test_a_check_has_its_identifier(self, tmp_path: Path) -> None:
        code = "from django.core.checks import Warning\nWarning('It is wrong', id='a.W001')"
        (tmp_path / "module.py").write_text(code)
        (message,) = messages_in(tmp_path)
        assert (message.check, message.place) == ("a.W001", "module.py:2")

    @pytest.mark.parametrize(
        ("entry", "is_in"),
        [
            ("`Channel … holds … messages`", True),
            ("`Channel 'a' holds 3 messages, and more`", True),
            ("`Channel … holds … letters`", False),
            ("`messages: … holds Channel`", False),
        ],
    )
    def test_is_in(self, tmp_path: Path, entry: str, is_in: bool) -> None:
        code = "raise ValueError(f'Channel {name} holds {count} messages')"
        (tmp_path / "module.py").write_text(code)
        (message,) = messages_in(tmp_path)
        assert message.is_in(entry) is is_in
