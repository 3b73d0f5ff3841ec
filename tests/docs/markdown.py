"""The code blocks of a Markdown page, with what their author says about each of them.

A block is told apart by the HTML comment on the line before its fence, which readers do not see
(``docs/conf.py`` shows a file's name as the caption of its block):

``<!-- file: chat/consumers.py -->``
    The whole of that file.
``<!-- append: mysite/settings.py -->``
    Lines to add at the end of that file.
``<!-- edit: mysite/settings.py -->``
    A ``diff`` to apply to that file.
``<!-- settings -->``
    Django settings, in force for the rest of the page.
``<!-- not executed: reason -->``
    Not run by the tests, for this reason.

``<!-- check`` on a line of its own starts a comment that holds Python: assertions about the blocks
above it, for the tests alone.
"""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "apply_diff", "blocks_of"]

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)$")
MARK = re.compile(r"^ *<!-- (?P<mark>file|append|edit|settings|not executed)(: (?P<text>.+))? -->$")
CHECK = re.compile(r"^<!-- check$")


@dataclass(frozen=True)
class Block:
    """One code block: where it stands, its language, its text, and its author's mark."""

    page: Path
    line: int
    """The number of the line before the first line of code."""
    language: str
    code: str
    mark: str = ""
    """``file``, ``append``, ``edit``, ``settings``, ``not executed``, ``check`` or nothing."""
    text: str = ""
    """What the mark says: a path, or a reason."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Every code block and hidden check of ``page``, in order. MyST directives are no code."""
    lines = page.read_text("utf-8").split("\n")
    found: list[Block] = []
    mark, text = "", ""
    number = 0
    while number < len(lines):
        line = lines[number]
        if fence := FENCE.match(line):
            end = _closing(page, lines, number, fence["fence"])
            info = fence["info"].strip()
            if not info.startswith("{"):
                code = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
                found.append(Block(page, number + 1, info, code, mark, text))
            number, mark, text = end, "", ""
        elif CHECK.match(line):
            end = lines.index("-->", number)
            code = "\n".join(lines[number + 1 : end]) + "\n"
            found.append(Block(page, number + 1, "python", code, "check"))
            number = end
        elif marked := MARK.match(line):
            mark, text = marked["mark"], marked["text"] or ""
        elif line.strip() and mark:
            raise ValueError(f"{page}:{number}: the mark {mark!r} is not followed by a code block.")
        number += 1
    return found


def apply_diff(text: str, diff: str) -> str:
    """``text`` with the hunks of ``diff`` applied; hunks are separated by blank lines.

    Raises ``ValueError`` unless the lines that a hunk removes or shows as context occur in ``text``
    exactly once: a reader could not follow it either.
    """
    for hunk in diff.strip("\n").split("\n\n"):
        lines = hunk.split("\n")
        old = "".join(line[1:] + "\n" for line in lines if not line.startswith("+"))
        new = "".join(line[1:] + "\n" for line in lines if not line.startswith("-"))
        if text.count(old) != 1:
            raise ValueError(f"The diff applies {text.count(old)} times:\n{hunk}\n\nto:\n{text}")
        text = text.replace(old, new)
    return text


def _closing(page: Path, lines: list[str], start: int, fence: str) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == fence:
            return number
    raise ValueError(f"{page}:{start + 1}: the fence is never closed.")
