"""Requests below the development server's root path, however they name it."""

import pytest

from channels.management.rootpath import RootPath


async def served(root_path, scope):
    """The scope that the application gets."""
    scopes = []

    async def application(scope, receive, send):
        scopes.append(scope)

    await RootPath(application, root_path)(scope, None, None)
    return scopes[0]


@pytest.mark.parametrize("root_path", ["/base", "base/", "/base/"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/base/x/", "/base/x/"),
        ("/base", "/base"),
        ("/x/", "/base/x/"),
        ("/", "/base/"),
        ("/baseball/", "/base/baseball/"),
    ],
)
async def test_the_path_has_the_root_path_whether_the_request_had_it_or_not(
    root_path, path, expected
):
    scope = {"type": "http", "path": path}
    found = await served(root_path, scope)
    assert found == {"type": "http", "root_path": "/base", "path": expected}
    assert scope == {"type": "http", "path": path}


async def test_a_scope_without_a_path_is_left_as_it_is():
    scope = {"type": "lifespan"}
    assert await served("/base", scope) is scope
