"""The pages around the WebSocket."""

from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse

from chat.models import Message, Room


class RoomTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = get_user_model().objects.create_user("alice")
        cls.room = Room.objects.create(name="<Lobby>")

    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def test_pages_lead_to_sign_in_and_back(self) -> None:
        self.client.logout()
        for page in (reverse("rooms"), reverse("room", args=[self.room.pk])):
            with self.subTest(page=page):
                self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")

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
