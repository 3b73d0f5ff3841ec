"""Orders, and the pages and buttons around them."""

from django.contrib.auth import get_user_model
from django.test import TestCase
from django.urls import reverse

from orders import demo
from orders.models import (
    CUSTOMERS_MOVES,
    STAFFS_MOVES,
    Item,
    NotPossible,
    Order,
    Status,
    moves_from,
)


class OrderTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        create_user = get_user_model().objects.create_user
        cls.alice, cls.carol = create_user("alice"), create_user("carol")
        cls.bob = create_user("bob", is_staff=True)
        cls.order = Order.objects.create(customer=cls.alice, item=Item.MUG)

    def press(self, page: str, to: str, order: Order | None = None) -> int:
        """Press a button; the status of the answer."""
        url = reverse(page, args=[(order or self.order).pk])
        status = self.client.post(url, {"to": to}).status_code
        self.order.refresh_from_db()
        return status

    def test_every_move_and_no_other(self) -> None:
        for moves in (CUSTOMERS_MOVES, STAFFS_MOVES):
            for start in Status:
                for target in Status:
                    order = Order.objects.create(customer=self.alice, item=Item.MUG, status=start)
                    if target in moves_from(start, moves):
                        order.move(target, moves)
                        self.assertEqual((order.status, order.version), (target, 2))
                    else:
                        with self.assertRaises(NotPossible):
                            order.move(target, moves)
                        self.assertEqual((order.status, order.version), (start, 1))

    def test_of_two_who_press_at_once_one_succeeds(self) -> None:
        self.order.move(Status.PAID, CUSTOMERS_MOVES)
        # Both have seen that it is paid.
        one, other = Order.objects.get(), Order.objects.get()
        one.move(Status.PACKED, STAFFS_MOVES)
        with self.assertRaisesMessage(NotPossible, "is packed, so this is not possible."):
            other.move(Status.PACKED, STAFFS_MOVES)
        self.assertEqual(Order.objects.get().version, 3)

    def test_a_customer_pays_and_cancels(self) -> None:
        self.client.force_login(self.alice)
        self.assertEqual(self.press("move-own-order", "packed"), 409)
        self.assertEqual(self.press("move-own-order", "paid"), 204)
        self.assertEqual(self.press("move-own-order", "paid"), 409)
        self.assertEqual(self.press("move-own-order", "cancelled"), 204)
        self.assertEqual(self.order.status, Status.CANCELLED)

    def test_staff_move_it_on(self) -> None:
        self.client.force_login(self.bob)
        self.assertEqual(self.press("move-order", "packed"), 409)
        self.order.move(Status.PAID, CUSTOMERS_MOVES)
        for to in ("packed", "shipped", "delivered"):
            self.assertEqual(self.press("move-order", to), 204)
        self.assertEqual(self.press("move-order", "cancelled"), 409)
        self.assertEqual(self.order.status, Status.DELIVERED)

    def test_rubbish_is_refused(self) -> None:
        self.client.force_login(self.alice)
        for to in ("", "lost", "PAID", "\0"):
            self.assertEqual(self.press("move-own-order", to), 400)
        self.assertEqual(self.client.get(reverse("move-own-order", args=[1])).status_code, 405)
        answer = self.client.post(reverse("orders"), {"item": "moon"})
        self.assertContains(answer, "not one of the available choices")

    def test_others_orders_are_not_there(self) -> None:
        self.client.force_login(self.carol)
        self.assertEqual(self.press("move-own-order", "paid"), 404)
        self.assertEqual(self.press("move-order", "cancelled"), 403)
        self.assertEqual(self.client.get(reverse("all-orders")).status_code, 403)
        self.client.force_login(self.bob)
        self.assertEqual(self.press("move-own-order", "paid"), 404)
        self.assertEqual(self.order.status, Status.PLACED)

    def test_pages_lead_to_sign_in(self) -> None:
        for page in (reverse("orders"), reverse("all-orders")):
            self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")
        self.assertEqual(self.press("move-own-order", "paid"), 302)
        self.assertEqual(self.press("move-order", "cancelled"), 302)
        self.assertEqual(self.order.status, Status.PLACED)

    def test_pages(self) -> None:
        self.client.force_login(self.alice)
        self.assertRedirects(
            self.client.post(reverse("orders"), {"item": "mug"}), reverse("orders")
        )
        page = self.client.get(reverse("orders"))
        self.assertContains(page, 'data-socket="/ws/orders/"')
        self.assertNotContains(page, reverse("all-orders"))
        self.client.force_login(self.bob)
        self.assertContains(self.client.get(reverse("orders")), reverse("all-orders"))
        self.assertContains(self.client.get(reverse("all-orders")), 'data-socket="/ws/orders/all/"')

    def test_demo(self) -> None:
        for _ in range(2):
            demo.create()
        self.assertEqual(Order.objects.count(), 3)
