"""The frame: accounts, the index, and the end of sessions."""

import re
from io import StringIO

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase
from django.urls import reverse

from showcase.sessions import group_of


class AccountTests(TestCase):
    def test_sign_up_needs_a_name_and_a_password(self) -> None:
        answer = self.client.post(
            reverse("sign-up"),
            {"username": "carol", "password1": "correct-horse", "password2": "correct-horse"},
        )
        self.assertRedirects(answer, reverse("index"))
        self.assertContains(self.client.get(reverse("index")), "<strong>carol</strong>")
        self.assertRedirects(self.client.post(reverse("sign-out")), reverse("sign-in"))

    def test_demo_accounts_work_and_are_made_once(self) -> None:
        for _ in range(2):
            call_command("create_demo", stdout=StringIO())
        users = get_user_model().objects.values_list("username", flat=True)
        self.assertCountEqual(users, settings.DEMO_ACCOUNTS)
        page = self.client.get(reverse("sign-in"))
        for name, password in settings.DEMO_ACCOUNTS.items():
            self.assertContains(page, f"Continue as <strong>{name}</strong>")
            self.assertTrue(self.client.login(username=name, password=password))

    def test_what_the_admin_is_for(self) -> None:
        call_command("create_demo", stdout=StringIO())
        self.client.force_login(get_user_model().objects.get(username="alice"))
        self.assertEqual(self.client.get(reverse("admin:index")).status_code, 200)


class IndexTests(TestCase):
    def test_every_app_with_a_page_has_a_card(self) -> None:
        page = self.client.get(reverse("index"))
        uses = [app for app in apps.get_app_configs() if hasattr(app, "index")]
        self.assertIn(apps.get_app_config("chat"), uses)
        for app in uses:
            with self.subTest(app=app.name):
                self.assertContains(page, f'<a class="card" href="{reverse(app.index)}">')
                self.assertContains(page, app.summary)

    def test_the_readme_lists_every_app_and_no_file_that_is_not_there(self) -> None:
        readme = (settings.BASE_DIR / "README.md").read_text()
        named = set(re.findall(r"`([a-z_/]+(?:/|\.py|\.js|\.html|\.css))`", readme))
        for app in apps.get_app_configs():
            if hasattr(app, "index"):
                self.assertIn(f"{app.name}/", named)
        shown = {name for name in named if "/" in name}
        self.assertEqual([name for name in shown if not (settings.BASE_DIR / name).exists()], [])

    def test_who_has_not_signed_in_is_asked_to(self) -> None:
        sign_in = f'<a href="{reverse("sign-in")}">Sign in</a>'
        self.assertContains(self.client.get(reverse("index")), sign_in)
        self.client.force_login(get_user_model().objects.create_user("carol"))
        self.assertNotContains(self.client.get(reverse("index")), sign_in)


class SessionTests(TestCase):
    def test_a_group_does_not_give_its_session_away(self) -> None:
        self.assertNotIn("key", group_of("key"))
        self.assertEqual(group_of("key"), group_of("key"))
        self.assertNotEqual(group_of("key"), group_of("another"))
