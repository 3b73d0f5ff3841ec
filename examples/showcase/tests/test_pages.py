"""The pages around the WebSocket."""

from io import StringIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase
from django.urls import reverse

from chat.models import Message, Room


class AccountTests(TestCase):
    def test_pages_lead_to_sign_in_and_back(self) -> None:
        room = Room.objects.create(name="Lobby")
        for page in (reverse("rooms"), reverse("room", args=[room.pk])):
            with self.subTest(page=page):
                self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")

    def test_sign_up_needs_a_name_and_a_password(self) -> None:
        answer = self.client.post(
            reverse("sign-up"),
            {"username": "carol", "password1": "correct-horse", "password2": "correct-horse"},
        )
        self.assertRedirects(answer, reverse("rooms"))
        self.assertContains(
            self.client.get(reverse("rooms")), "Signed in as <strong>carol</strong>"
        )
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


class RoomTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = get_user_model().objects.create_user("alice")
        cls.room = Room.objects.create(name="<Lobby>")

    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def test_open_a_room(self) -> None:
        answer = self.client.post(reverse("rooms"), {"name": "  日本   語 "})
        room = Room.objects.get(name="日本 語")
        self.assertRedirects(answer, reverse("room", args=[room.pk]))

    def test_names_are_unique(self) -> None:
        answer = self.client.post(reverse("rooms"), {"name": "<lobby>"})
        self.assertContains(answer, "There is already a room with this name.")
        self.assertEqual(Room.objects.count(), 1)

    def test_list_shows_what_is_going_on(self) -> None:
        Room.objects.create(name="Aardvarks")
        page = self.client.get(reverse("rooms"))
        self.assertEqual([room.name for room in page.context["rooms"]], ["<Lobby>", "Aardvarks"])
        self.assertContains(page, "Nothing said yet", count=2)
        Message.objects.create(room=self.room, author=self.alice, text="Hello")
        page = self.client.get(reverse("rooms"))
        self.assertContains(page, "1 message, the last")
        self.assertContains(page, "&lt;Lobby&gt;")
        self.assertNotContains(page, "<Lobby>")

    def test_room_page_knows_its_socket(self) -> None:
        page = self.client.get(reverse("room", args=[self.room.pk]))
        self.assertContains(page, f'data-socket="/ws/rooms/{self.room.pk}/"')
        self.assertContains(page, 'maxlength="500"')
        self.assertEqual(self.client.get(reverse("room", args=[0])).status_code, 404)
