from django.http import JsonResponse
from django.urls import path


def who(request):
    """Who asks, as far as Django knows."""
    return JsonResponse(
        {
            "client": request.META["REMOTE_ADDR"],
            "host": request.get_host(),
            "secure": request.is_secure(),
        }
    )


urlpatterns = [path("who/", who)]
