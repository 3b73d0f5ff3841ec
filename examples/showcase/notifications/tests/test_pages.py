"""The page, and what its buttons do."""

from io import StringIO

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import TestCase
from django.urls import reverse

from notifications.models import Notification


class PageTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.bob = create_user("alice"), create_user("bob")

    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def test_the_form_offers_others(self) -> None:
        page = self.client.get(reverse("notifications"))
        self.assertEqual(list(page.context["form"].fields["person"].queryset), [self.bob])

    def test_tell_somebody_something(self) -> None:
        form = {"person": self.bob.pk, "text": "Hello"}
        self.assertEqual(self.client.post(reverse("send-notification"), form).status_code, 204)
        told = Notification.objects.get()
        self.assertEqual((told.person, told.text, told.is_read), (self.bob, "Hello", False))

    def test_what_cannot_be_told_is_refused(self) -> None:
        for form in (
            {},
            {"person": self.bob.pk, "text": " "},
            {"person": self.bob.pk, "text": "x" * 201},
            {"person": self.alice.pk, "text": "To myself"},
            {"person": "nobody", "text": "Hello"},
        ):
            with self.subTest(form=form):
                answer = self.client.post(reverse("send-notification"), form)
                self.assertEqual(answer.status_code, 400)
                self.assertTrue(answer.content)
        self.assertFalse(Notification.objects.exists())

    def test_everybody_reads_only_what_is_theirs(self) -> None:
        mine = self.alice.notifications.create(text="Mine")
        other = self.bob.notifications.create(text="Not mine")
        self.client.post(reverse("read-one", args=[other.pk]))
        self.client.post(reverse("read-all"))
        for notification, is_read in ((mine, True), (other, False)):
            notification.refresh_from_db()
            self.assertIs(notification.is_read, is_read)

    def test_nothing_is_changed_by_a_link_or_a_stranger(self) -> None:
        pages = [reverse("send-notification"), reverse("read-all"), reverse("read-one", args=[1])]
        for page in pages:
            self.assertEqual(self.client.get(page).status_code, 405)
        self.client.logout()
        for page in (*pages, reverse("notifications")):
            answer = self.client.post(page)
            self.assertRedirects(answer, f"{reverse('sign-in')}?next={page}")

    def test_the_command_knows_whom_it_does_not_know(self) -> None:
        with self.assertRaisesMessage(CommandError, "There is nobody named carol."):
            call_command("notify", "carol", "Hello", stdout=StringIO())
