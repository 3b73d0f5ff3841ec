import re

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse, set_script_prefix

from .conftest import PAGE, client_of


def page_of(client, path=PAGE, **kwargs):
    return client.get(path, **kwargs)


def test_who_sees_the_page(people):
    answers = {name: page_of(client_of(user)).status_code for name, user in people.items()}
    assert answers == {"plain": 302, "staff": 403, "viewer": 200, "operator": 200, "root": 200}
    assert page_of(Client()).status_code == 302


def test_the_index_names_it_for_those_who_may_see_it(people):
    assert PAGE in client_of(people["viewer"]).get("/admin/").text
    assert PAGE not in client_of(people["staff"]).get("/admin/").text


def test_the_page_says_where_its_socket_is_and_that_the_admin_has_made_it(people):
    from channels.contrib.admin.rights import admitted

    for name, may_disconnect in (("viewer", False), ("operator", True)):
        text = page_of(client_of(people[name])).text
        assert 'data-url="/channels/live/"' in text
        token = re.search(r'data-page="([^"]+)"', text)
        assert token is not None
        assert admitted(token[1], people[name]) is may_disconnect
        assert ("data-may-disconnect" in text) is may_disconnect


@pytest.mark.parametrize(("listed", "tag"), [(False, "div"), (True, "ol")])
def test_breadcrumbs_are_those_of_the_django_that_is_there(people, monkeypatch, listed, tag):
    monkeypatch.setattr("channels.contrib.admin.admin._LISTED", listed)
    text = page_of(client_of(people["root"])).text
    assert f'<{tag} class="breadcrumbs">' in text
    assert 'href="/admin/channels_admin/">Channels</a>' in text


def test_the_socket_is_below_the_prefix_of_the_site(people):
    try:
        set_script_prefix("/site/")  # as servers' handlers do
        text = page_of(client_of(people["root"])).text
    finally:
        set_script_prefix("/")
    assert 'data-url="/site/channels/live/"' in text


def test_nothing_in_the_page_needs_unsafe_inline(people):
    text = page_of(client_of(people["root"])).text
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=", text) == []


def test_a_site_that_asks_for_more_is_obeyed(people):
    client = client_of(people["root"])
    assert page_of(client, "/strict/channels_admin/liveconnection/").status_code == 302
    client.cookies["second-factor"] = "yes"
    text = page_of(client, "/strict/channels_admin/liveconnection/").text
    assert "/strict/" in text
    assert "Live connections" in text


def test_nothing_can_be_added_changed_or_deleted(people):
    from django.contrib import admin

    from channels.contrib.admin.admin import LiveConnectionAdmin
    from channels.contrib.admin.models import LiveConnection

    request = RequestFactory().get(PAGE)
    request.user = people["root"]
    shown = LiveConnectionAdmin(LiveConnection, admin.site)
    assert not shown.has_add_permission(request)
    assert not shown.has_change_permission(request)
    assert not shown.has_delete_permission(request)
    assert client_of(people["root"]).get(f"{PAGE}add/").status_code == 404
    assert str(LiveConnection()) == "live connection"
    assert reverse("admin:channels_admin_liveconnection_changelist") == PAGE


def test_the_model_asks_for_no_migration_and_the_project_is_sound(tables):
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
    call_command("check")
    assert "channels.contrib.admin" in settings.INSTALLED_APPS
