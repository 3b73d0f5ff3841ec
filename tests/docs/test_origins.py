"""Whatever a newcomer copies refuses the pages of other sites."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .markdown import blocks_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
FILES = sorted((ROOT / "examples").rglob("*.py"))
VALIDATORS = {"AllowedHostsOriginValidator", "OriginValidator"}
# What may stand around a validator, or has no cookies to look at.
ALSO = {"LimitMiddleware", "TokenAuthMiddleware"}


def name_of(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return getattr(node, "id", getattr(node, "attr", ""))


def is_checked(application: ast.AST, assigned: dict[str, ast.AST]) -> bool:
    """Whether an origin is checked before anything else of the application runs."""
    if isinstance(application, ast.Name) and application.id in assigned:
        return is_checked(assigned[application.id], assigned)
    if not isinstance(application, ast.Call):
        return False
    if name_of(application) in VALIDATORS:
        return True
    inner = application.args[0] if application.args else ast.Constant(None)
    return name_of(application) in ALSO and (
        name_of(application) == "TokenAuthMiddleware" or is_checked(inner, assigned)
    )


def unchecked(source: str) -> Iterator[int]:
    """The lines of WebSocket routes that are behind no check of origins."""
    tree = ast.parse(source)
    assigned: dict[str, ast.AST] = {
        name_of(target): node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node) == "ProtocolTypeRouter" and node.args:
            routes = node.args[0]
            assert isinstance(routes, ast.Dict)
            for key, value in zip(routes.keys, routes.values, strict=True):
                found = isinstance(key, ast.Constant) and key.value == "websocket"
                if found and not is_checked(value, assigned):
                    yield value.lineno


def test_a_route_without_a_check_is_found() -> None:
    good = 'ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(x)})'
    wrapped = f'inner = OriginValidator(x, [])\nProtocolTypeRouter({{"websocket": inner}})\n{good}'
    bad = 'ProtocolTypeRouter({"http": y, "websocket": AuthMiddlewareStack(x)})'
    assert [list(unchecked(source)) for source in (good, wrapped, bad)] == [[], [], [1]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_routes_on_pages_are_behind_a_check_of_origins(page: Path) -> None:
    bad = []
    for block in blocks_of(page):
        if block.language == "python" and "ProtocolTypeRouter" in block.code:
            bad += [f"{block}: line {line}" for line in unchecked(block.code)]
    assert bad == []


def test_routes_of_examples_are_behind_a_check_of_origins() -> None:
    bad = [f"{file}:{line}" for file in FILES for line in unchecked(file.read_text("utf-8"))]
    assert bad == []
