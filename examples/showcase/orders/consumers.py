"""What happens on the WebSockets of the pages that show orders."""

from typing import Any

from channels.close_codes import CloseCode
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db.models import QuerySet

from showcase.sessions import group_of as group_of_session

from .models import CUSTOMERS_MOVES, STAFF, STAFFS_MOVES, Moves, Order, group_of, moves_from

#: How many orders a page shows at first.
NEWEST = 50


class OrdersConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows orders. It only listens: its buttons post forms.

    It receives ``orders``, which is everything, whenever it connects, and ``order`` when one is new
    or has changed. Each order says where it may move to, so the page need not know the rules.
    """

    moves: Moves

    def refusal(self) -> CloseCode | None:
        """Why this user may not watch, if that is so."""
        return None if self.scope["user"].is_authenticated else CloseCode.UNAUTHORIZED

    def group(self) -> str:
        """The group that hears of the orders on this page."""
        raise NotImplementedError

    def orders(self) -> QuerySet[Order]:
        """The orders on this page."""
        raise NotImplementedError

    async def connect(self) -> None:
        await self.accept()
        refusal = self.refusal()
        if refusal is not None:
            await self.close(refusal)
            return
        session = group_of_session(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        # Join first, read second. A change in between comes twice, and its version tells.
        await self.channel_layer.group_add(self.group(), self.channel_name)
        await self.send_all()

    async def send_all(self) -> None:
        """Tell the page how things are."""
        orders = self.orders().select_related("customer")[:NEWEST]
        shown = [self.for_page(order.as_dict()) async for order in orders]
        await self.send_json({"type": "orders", "orders": shown})

    def for_page(self, order: dict[str, Any]) -> dict[str, Any]:
        """An order, and what may be done with it here."""
        return order | {"moves": moves_from(order["status"], self.moves)}

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"type": "error", "text": "This page has nothing to say here."})

    async def order_changed(self, message: dict[str, Any]) -> None:
        """An order is new, or has moved on."""
        await self.send_json({"type": "order", "order": self.for_page(message["order"])})

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Messages have been lost: tell the page everything again."""
        await self.send_all()

    async def signed_out(self, message: dict[str, Any]) -> None:
        """The session has ended, so this ends as well."""
        await self.close(CloseCode.UNAUTHORIZED)


class OwnOrdersConsumer(OrdersConsumer):
    """For a customer."""

    moves = CUSTOMERS_MOVES

    def group(self) -> str:
        return group_of(self.scope["user"].pk)

    def orders(self) -> QuerySet[Order]:
        return Order.objects.filter(customer_id=self.scope["user"].pk)


class AllOrdersConsumer(OrdersConsumer):
    """For staff."""

    moves = STAFFS_MOVES

    def refusal(self) -> CloseCode | None:
        refusal = super().refusal()
        if refusal is None and not self.scope["user"].is_staff:
            refusal = CloseCode.FORBIDDEN
        return refusal

    def group(self) -> str:
        return STAFF

    def orders(self) -> QuerySet[Order]:
        return Order.objects.all()
