"""What runs the examples finds mistakes in them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from .markdown import apply_diff, blocks_of


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return tmp_path / "page.md"


class TestBlocksOf:
    def test_blocks_come_in_order_with_marks_and_lines(self, page: Path) -> None:
        page.write_text(
            "# Title\n\n```python\na = 1\n```\n\n<!-- file: x/y.py -->\n```python\nb = 2\n```\n"
            "<!-- check\nassert a\n-->\n\n<!-- not executed: needs a moon -->\n```python\nc\n```\n"
        )
        found = [(b.line, b.language, b.code, b.mark, b.text) for b in blocks_of(page)]
        assert found == [
            (3, "python", "a = 1\n", "", ""),
            (8, "python", "b = 2\n", "file", "x/y.py"),
            (11, "python", "assert a\n", "check", ""),
            (16, "python", "c\n", "not executed", "needs a moon"),
        ]

    def test_a_block_in_a_list_is_dedented(self, page: Path) -> None:
        page.write_text("- so:\n\n  ```python\n  if a:\n      b\n  ```\n")
        assert blocks_of(page)[0].code == "if a:\n    b\n"

    def test_directives_are_no_code(self, page: Path) -> None:
        page.write_text("```{toctree}\na\n```\n")
        assert blocks_of(page) == []

    def test_a_fence_that_is_never_closed_is_refused(self, page: Path) -> None:
        page.write_text("```python\na\n")
        with pytest.raises(ValueError, match="never closed"):
            blocks_of(page)

    def test_a_mark_without_a_block_is_refused(self, page: Path) -> None:
        page.write_text("<!-- file: a.py -->\nText.\n\n```python\na\n```\n")
        with pytest.raises(ValueError, match="not followed by a code block"):
            blocks_of(page)


class TestApplyDiff:
    def test_lines_are_added_and_removed(self) -> None:
        assert apply_diff("a\nb\nc\n", " a\n-b\n+B\n c\n") == "a\nB\nc\n"

    @pytest.mark.parametrize("text", ["x\n", "a\na\n"])
    def test_context_that_is_not_there_once_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="applies"):
            apply_diff(text, " a\n+b\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\nassert 1 == 2\n```\n", 'page.md", line 2'),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "expected '3"),
        ("```pycon\n>>> {}['a']\nTraceback (most recent call last):\nKeyError: 'b'\n```\n", "'a'"),
        ("<!-- file: chat/consumers.py -->\n```python\nimport nothing\n```\n", "nothing"),
        ("<!-- check\nassert await nothing()\n-->\n", "NameError"),
        ("<!-- settings -->\n```python\nCHANNEL_LAYERS = {'default': 1}\n```\n", "channels.E002"),
    ],
)
def test_a_mistake_on_a_page_is_found(
    page: Path, run_page: Callable[[Path], str], text: str, complaint: str
) -> None:
    page.write_text(text)
    with pytest.raises(AssertionError) as failed:
        run_page(page)
    assert complaint in str(failed.value)
