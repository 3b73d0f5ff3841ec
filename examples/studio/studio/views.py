"""The page, and what its buttons do. All that moves in it comes through the WebSocket."""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from . import orders
from .forms import ParametersForm
from .models import Order
from .painting import HEIGHT, PALETTES, WIDTH, Parameters


class SignIn(LoginView):
    """Name and password, or one click for a demo account."""

    template_name = "studio/sign_in.html"
    redirect_authenticated_user = True
    extra_context = {"demo_accounts": settings.DEMO_ACCOUNTS}


@require_GET
@login_required
def studio(request: HttpRequest) -> HttpResponse:
    """The page."""
    context = {
        "form": ParametersForm(label_suffix=""),
        "palettes": PALETTES.items(),
        "width": WIDTH,
        "height": HEIGHT,
    }
    return render(request, "studio/studio.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
@login_required
def order_list(request: HttpRequest) -> JsonResponse:
    """GET: the customer's orders. POST: a new one."""
    if request.method == "GET":
        own = request.user.orders.defer("canvas", "picture")
        return JsonResponse({"orders": [order.as_dict() for order in own]})
    return _order(request, lambda parameters: orders.place(request.user, parameters))


@require_POST
@login_required
def change(request: HttpRequest, pk: int) -> JsonResponse:
    """Another picture instead of this one."""
    return _order(request, lambda parameters: orders.change(request.user, pk, parameters))


@require_POST
@login_required
def cancel(request: HttpRequest, pk: int) -> JsonResponse:
    """Not this one any more."""
    return _do(lambda: orders.cancel(request.user, pk))


@require_POST
@login_required
def resume(request: HttpRequest, pk: int) -> JsonResponse:
    """This one after all."""
    return _do(lambda: orders.resume(request.user, pk))


@require_GET
@cache_control(private=True, max_age=86400, immutable=True)  # The URL names the version.
@login_required
def picture(request: HttpRequest, pk: int) -> HttpResponse:
    """A picture that is finished."""
    order = get_object_or_404(request.user.orders, pk=pk, state=Order.State.DONE)
    return HttpResponse(bytes(order.picture), content_type="image/webp")


def _order(request: HttpRequest, act: Callable[[Parameters], Order]) -> JsonResponse:
    form = ParametersForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"problem": form.problem}, status=400)
    return _do(lambda: act(form.parameters))


def _do(act: Callable[[], Order]) -> JsonResponse:
    try:
        order = act()
    except Order.DoesNotExist:
        raise Http404 from None
    except orders.TooMany:
        problem = "Wait until one of your pictures is finished, or cancel one."
        return JsonResponse({"problem": problem}, status=409)
    return JsonResponse(order.as_dict())
