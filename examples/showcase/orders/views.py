"""The pages of customers and staff, and what their buttons do."""

from typing import Any

from django.contrib.auth.mixins import AccessMixin, LoginRequiredMixin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse_lazy
from django.views.generic import CreateView, TemplateView, View

from .forms import MoveForm, OrderForm
from .models import CUSTOMERS_MOVES, STAFFS_MOVES, NotPossible, Order


class StaffRequiredMixin(AccessMixin):
    """For staff: others are asked to sign in, or refused."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        if not request.user.is_staff:
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)


class OwnOrders(LoginRequiredMixin, CreateView):
    """The customer's orders, which come through the WebSocket, and a form for another one."""

    template_name = "orders/own.html"
    form_class = OrderForm
    success_url = reverse_lazy("orders")

    def form_valid(self, form: OrderForm) -> HttpResponse:
        form.instance.customer = self.request.user
        with transaction.atomic():
            response = super().form_valid(form)
            self.object.announce()
        return response


class AllOrders(StaffRequiredMixin, TemplateView):
    """The orders of all customers, for staff."""

    template_name = "orders/all.html"


class Move(View):
    """Moves an order on. The page hears of it through its WebSocket, like all others."""

    moves = CUSTOMERS_MOVES

    def orders(self) -> QuerySet[Order]:
        """The orders that may be moved at all."""
        return Order.objects.filter(customer=self.request.user)

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer 204, or 400, 404 or 409 with a text that says why not."""
        form = MoveForm(request.POST)
        if not form.is_valid():
            return HttpResponse("There is no such status.", status=400, content_type="text/plain")
        order = get_object_or_404(self.orders(), pk=pk)
        try:
            order.move(form.cleaned_data["to"], self.moves)
        except NotPossible as error:
            return HttpResponse(str(error), status=409, content_type="text/plain")
        return HttpResponse(status=204)


class MoveOwn(LoginRequiredMixin, Move):
    """What a customer may do."""


class MoveAny(StaffRequiredMixin, Move):
    """What staff may do."""

    moves = STAFFS_MOVES

    def orders(self) -> QuerySet[Order]:
        return Order.objects.all()
