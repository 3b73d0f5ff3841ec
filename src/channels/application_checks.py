"""System checks of what ``ASGI_APPLICATION`` leads to: its routes, and the order of its imports."""

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004
from django.db.models.base import ModelBase
from django.urls.resolvers import URLPattern, URLResolver

from ._runtime.nesting import held_by, inside

if TYPE_CHECKING:
    from .routing import URLRouter

__all__ = [
    "callbacks",
    "check_import_order",
    "check_routes",
    "consumer_class",
    "project_application",
    "targets",
    "ways",
]

_TAG = "channels"
_NOT_THE_PROJECTS = {*sys.stdlib_module_names, "asgiref", "channels", "channels_redis", "django"}
_MODULES = 500  # that are looked at for one import
_APPLICATIONS = 10_000  # that are looked at for one project


@register(_TAG)
def check_routes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find routes that begin with a slash and so match nothing."""
    from .routing import slashed_routes  # noqa: PLC0415

    application = project_application()
    if application is None:
        return []
    return [
        Warning(
            f"The route {str(route.pattern)!r}{_target(route)} begins with a slash, and the path "
            "that it is to match does not.",
            hint="Remove the slash from the front of the route.",
            id="channels.W012",
        )
        for router in _routers(application)
        for route in slashed_routes(router.routes)
    ]


def project_application() -> object:
    """The application, or None if there is none: another check says why."""
    from .routing import get_default_application  # noqa: PLC0415

    if getattr(settings, "ASGI_APPLICATION", None) is None:
        return None
    try:
        return get_default_application()
    except (Exception, SystemExit):  # noqa: BLE001  project code, at import
        return None


def _routers(application: object) -> "Iterator[URLRouter]":
    """Every router of paths that the application leads to."""
    from .routing import URLRouter  # noqa: PLC0415

    seen: list[URLRouter] = []
    waiting = [application]
    for found in waiting:
        for candidate in inside(found):
            if isinstance(candidate, URLRouter) and candidate not in seen:
                seen.append(candidate)
                yield candidate
                waiting.extend(callbacks(candidate.routes))


def targets() -> Iterator[object]:
    """What the routes of the application lead to."""
    application = project_application()
    if application is not None:
        for router in _routers(application):
            yield from callbacks(router.routes)


def callbacks(routes: Sequence[Any]) -> Iterator[object]:
    """What routes lead to."""
    for route in routes:
        if isinstance(route, URLResolver):
            yield from callbacks(route.url_patterns)
        else:
            yield route.callback


def ways(
    *, protocol: str | None = None, ends: Callable[[Any], bool] = lambda found: False
) -> Iterator[tuple[Any, tuple[object, ...]]]:
    """Every application that the project's leads to, with what stands in front of it.

    Args:
        protocol: follow only this one where a ``ProtocolTypeRouter`` parts them, wherever that is.
        ends: whether not to look behind an application.
    """
    from .routing import URLRouter  # noqa: PLC0415

    seen: set[int] = set()
    waiting: list[tuple[Any, tuple[object, ...]]] = [(project_application(), ())]
    while waiting and len(seen) < _APPLICATIONS:
        found, before = waiting.pop()
        if not callable(found) or isinstance(found, type) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found, before
        if consumer_class(found) is not None or ends(found):
            continue
        by_protocol = getattr(found, "application_mapping", None)
        inner: Iterator[Any]
        if isinstance(found, URLRouter):
            inner = callbacks(found.routes)
        elif protocol is not None and isinstance(by_protocol, Mapping):
            inner = iter([by_protocol.get(protocol)])
        else:
            inner = held_by(found)
        waiting.extend((it, (*before, found)) for it in inner)


def consumer_class(found: Any) -> type | None:
    """The consumers' class, if this is what ``as_asgi()`` returns, and not a function around it."""
    wrapped = getattr(found, "__wrapped__", None)
    if wrapped is not None and not isinstance(wrapped, type):
        return None
    cls = getattr(found, "consumer_class", None)
    return cls if isinstance(cls, type) else None


def _target(route: Any) -> str:
    if not isinstance(route, URLPattern):
        return ""
    consumer = getattr(route.callback, "consumer_class", None)
    name = getattr(consumer, "__qualname__", None) or getattr(route.callback, "__name__", None)
    return f" (to {name})" if name else ""


@register(_TAG)
def check_import_order(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find what ``asgi.py`` imports before Django is set up, and what needs that.

    Here Django is set up already. A server, which begins with this module, would fail.
    """
    if project_application() is None:
        return []
    module = sys.modules[str(getattr(settings, "ASGI_APPLICATION", "")).rpartition(".")[0]]
    try:
        path = Path(inspect.getsourcefile(module) or "")
        tree = ast.parse(path.read_text("utf-8"))
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    imports: list[ast.Import | ast.ImportFrom] = []
    for statement in tree.body:
        if _sets_django_up(statement):
            break
        imports += [n for n in ast.walk(statement) if isinstance(n, ast.Import | ast.ImportFrom)]
    else:
        return []  # another module may import it later
    return [
        Warning(
            f"{path.name}, line {node.lineno}, imports the model {model} before Django is set up "
            f"in line {statement.lineno}: a server cannot start, for want of the app registry "
            "(AppRegistryNotReady).",
            hint="Call get_asgi_application() first, and import consumers and routes below it.",
            id="channels.W013",
        )
        for node in imports
        if (model := _model_behind(_imported(node, module)))
    ]


def _sets_django_up(statement: ast.stmt) -> bool:
    """Whether it calls ``get_asgi_application()`` or ``django.setup()``."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    for node in ast.walk(statement):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in {"get_asgi_application", "get_wsgi_application", "setup"}:
                return True
    return False


def _imported(node: ast.Import | ast.ImportFrom, module: ModuleType) -> list[ModuleType]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        base = node.module or ""
        if node.level:
            package = (module.__package__ or "").split(".")
            parents = package[: len(package) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [sys.modules[name] for name in names if name in sys.modules]


def _model_behind(modules: list[ModuleType]) -> str | None:
    """The first model that these modules import, themselves or by way of others."""
    waiting = list(modules)
    for module in waiting:
        for name, value in list(vars(module).items()):
            # By the type itself: to ask a lazy object for its class would wake it.
            kind = type(value)
            if issubclass(kind, ModelBase) and hasattr(value, "_meta"):  # Model itself has none
                return f"{value.__module__}.{value.__qualname__}"
            if issubclass(kind, ModuleType):
                # A package has its modules as attributes, whoever has imported them.
                if value.__name__ != f"{module.__name__}.{name}":
                    _add(waiting, value)
            elif issubclass(kind, type | FunctionType):
                _add(waiting, sys.modules.get(value.__module__ or ""))
    return None


def _add(waiting: list[ModuleType], module: ModuleType | None) -> None:
    if module is None or module in waiting or len(waiting) >= _MODULES:
        return
    if module.__name__.partition(".")[0] not in _NOT_THE_PROJECTS:
        waiting.append(module)
