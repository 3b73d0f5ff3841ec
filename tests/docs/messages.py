"""The messages that the source can show its users, found by reading it.

Only text that the code itself spells is found: what an exception, a line of the log, a system check
or a refusal says, with a gap for each part that is known at run time only.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

__all__ = ["GAP", "Message", "messages_in"]

GAP = "…"
"""What stands for a part that the source does not spell."""

_LEVELS = {"WARNING", "ERROR", "CRITICAL"}
_METHODS = {"warning", "error", "exception", "critical"}
# Exceptions of other packages that the source raises with a text of its own.
_OF_OTHERS = {
    "ArgumentTypeError",
    "CancelledError",
    "CommandError",
    "ImproperlyConfigured",
    "JSONDecodeError",
    "OperationalError",
}
# Variables that hold a line of the log, where a helper is called to write it.
_LINES = {"message", "said", "text"}
# What a message needs at least, to be looked for: letters that the source spells.
_ENOUGH = 5
# How many texts may lie within each other that a message is put together from.
_DEEP = 2
_PLACE = re.compile(r"%[-0-9.]*[sdrfg]")


@dataclass(frozen=True)
class Message:
    """One message: where the source spells it, and how."""

    place: str
    text: str
    """With :data:`GAP` for each part that varies."""
    check: str = ""
    """The identifier, if it is a system check's."""

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"

    def is_in(self, entry: str) -> bool:
        """Whether ``entry`` of a page names this message: all that is spelled, in order."""
        if self.check and self.check not in entry:
            return False
        if not self._spelled:  # a check that passes on what an exception says
            return bool(self.check)
        start, text = 0, plain(entry)
        for part in self._spelled:
            if (found := text.find(part, start)) < 0:
                return False
            start = found + len(part)
        return True

    @cached_property
    def _spelled(self) -> list[str]:
        parts = [plain(part) for part in self.text.split(GAP)]
        return [part for part in parts if _letters(part) >= 2]


def messages_in(source: Path) -> list[Message]:
    """Every message of the package in the folder ``source``."""
    modules = {path: ast.parse(path.read_text("utf-8")) for path in sorted(source.rglob("*.py"))}
    exceptions = _exceptions(modules.values())
    found = set()
    for path, tree in modules.items():
        module = _Module(tree)
        for call, check, spoken in _spoken(tree, exceptions):
            place = f"{path.relative_to(source)}:{call.lineno}"
            for text in module.texts(spoken, call):
                if check or _letters(text) >= _ENOUGH:
                    found.add(Message(place, text, check))
    return sorted(found, key=str)


@cache
def plain(text: str) -> str:
    """``text`` without markup and line breaks."""
    return " ".join(text.replace("`", "").replace("\\", "").split())


def _letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _exceptions(trees: Iterable[ast.Module]) -> set[str]:
    """The names of all classes of exceptions, those of Python included."""
    known = {name for name, value in vars(builtins).items() if _is_exception(value)} | _OF_OTHERS
    classes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while True:
        more = {cls.name for cls in classes if {_name(base) for base in cls.bases} & known} - known
        if not more:
            return known
        known |= more


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _name(node: ast.expr) -> str:
    return getattr(node, "id", None) or getattr(node, "attr", None) or ""


def _spoken(tree: ast.Module, exceptions: set[str]) -> Iterator[tuple[ast.Call, str, ast.expr]]:
    """Each call that tells somebody something, the check's identifier, and what it tells."""
    checks = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.core.checks"
        for alias in node.names
    } & {"Error", "Warning"}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name, keywords = _name(call.func), {word.arg: word.value for word in call.keywords}
        if name in checks:
            identifier = keywords.get("id")
            if isinstance(identifier, ast.Constant) and call.args:
                yield call, str(identifier.value), call.args[0]
        elif name in exceptions or name == "warn" or (name in _METHODS and _is_logger(call.func)):
            yield from ((call, "", text) for text in call.args[:1])
        elif name == "deny" and "reason" in keywords:
            yield call, "", keywords["reason"]
        elif _writes_a_line(call, name):
            yield from ((call, "", text) for text in call.args if _could_be_a_line(text))


def _is_logger(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and _name(function.value) == "logger"


def _writes_a_line(call: ast.Call, name: str) -> bool:
    """Whether this is a helper that writes to the log: it is called so, or is given a level."""
    return name.lstrip("_").startswith("log") or any(
        _is_level(part) for argument in call.args for part in ast.walk(argument)
    )


def _is_level(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute) and _name(node.value) == "logging" and node.attr in _LEVELS
    )


def _could_be_a_line(node: ast.expr) -> bool:
    """Whether this argument is the line, and not the kind of line that rates are kept for."""
    if isinstance(node, ast.Constant):
        return " " in str(node.value)
    return isinstance(node, ast.Name) and node.id in _LINES


class _Module:
    """One module, to look up what its names stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        self._constants = _assigned(tree.body)
        self._looked_up: list[tuple[str, int]] = []
        self._calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]

    def texts(self, node: ast.expr, where: ast.Call) -> set[str]:
        """What ``node`` can say, which stands in the call ``where``."""
        texts = self._read(node, where, deep=0)
        if all(_letters(text) < _ENOUGH for text in texts):  # it is put together from other texts
            texts = self._read(node, where, deep=_DEEP)
        return {_PLACE.sub(GAP, text) for text in texts}

    def _read(self, node: ast.expr, where: ast.Call, *, deep: int) -> set[str]:
        if isinstance(node, ast.Constant):
            return {node.value} if isinstance(node.value, str) else {GAP}
        if isinstance(node, ast.JoinedStr):
            return self._join(node.values, where, deep=deep)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._join([node.left, node.right], where, deep=deep)
        if isinstance(node, ast.FormattedValue):
            return self._read(node.value, where, deep=deep - 1) if deep else {GAP}
        if isinstance(node, ast.IfExp):
            return self._read(node.body, where, deep=deep) | self._read(
                node.orelse, where, deep=deep
            )
        if isinstance(node, ast.Name):
            return self._named(node.id, where, deep=deep)
        if isinstance(node, ast.Call) and _name(node.func) not in {"str", "repr"}:
            return self._returned(_name(node.func), deep=deep)
        return {GAP}

    def _join(self, nodes: Iterable[ast.expr], where: ast.Call, *, deep: int) -> set[str]:
        parts = [self._read(node, where, deep=deep) for node in nodes]
        if deep:  # one of them alone is enough to look for
            return set().union(*parts)
        joined = {""}
        for more in parts:
            joined = {text + part for text in joined for part in more}
        return joined

    def _named(self, name: str, where: ast.Call, *, deep: int) -> set[str]:
        """What ``name`` stands for: in the innermost function around ``where``, or above."""
        around = [f for f in self._functions if f.lineno <= where.lineno <= (f.end_lineno or 0)]
        values: list[tuple[ast.expr, ast.Call]] = []
        if around:
            assigned = _assigned(ast.walk(around[-1])).get(name, [])
            values = [(value, where) for value in assigned] or self._passed(around[-1], name)
        values = values or [(value, where) for value in self._constants.get(name, [])]
        if (name, where.lineno) in self._looked_up:  # it is made of itself
            return {GAP}
        self._looked_up.append((name, where.lineno))
        texts = [self._read(value, place, deep=deep) for value, place in values]
        self._looked_up.pop()
        return set().union(*texts) or {GAP}

    def _passed(
        self, function: ast.FunctionDef | ast.AsyncFunctionDef, name: str
    ) -> list[tuple[ast.expr, ast.Call]]:
        """What calls in this module pass to ``function`` as its parameter ``name``."""
        parameters = [parameter.arg for parameter in function.args.args]
        bound = int(parameters[:1] in (["self"], ["cls"]))
        found = []
        for call in self._calls:
            if _name(call.func) != function.name or name not in parameters:
                continue
            place = parameters.index(name) - bound
            found += [(word.value, call) for word in call.keywords if word.arg == name]
            found += [(value, call) for value in call.args[place : place + 1]]
        return found

    def _returned(self, name: str, *, deep: int) -> set[str]:
        """What the functions ``name`` of this module return, and the calls of them return."""
        if (name, 0) in self._looked_up:  # a method that calls its parent's
            return {GAP}
        self._looked_up.append((name, 0))
        texts = {
            text
            for function in self._functions
            if function.name == name
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and isinstance(node.value, ast.expr)
            for text in self._read(node.value, _call_at(node), deep=deep)
        }
        self._looked_up.pop()
        return texts or {GAP}


def _call_at(node: ast.Return) -> ast.Call:
    """A stand-in for a call at the place of ``node``."""
    return ast.copy_location(ast.Call(ast.Name("_"), [], []), node)


def _assigned(nodes: Iterable[ast.AST]) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            pairs = [(node.target, node.value)]
        else:
            continue
        for target, value in pairs:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for name, part in zip(target.elts, value.elts, strict=False):
                    found.setdefault(_name(name), []).append(part)
            else:
                found.setdefault(_name(target), []).append(value)
    return found
