"""The showcase with a strict Content-Security-Policy for its admin."""

from mysite.settings import *  # type: ignore[import-not-found]  # noqa: F403
from mysite.settings import MIDDLEWARE as OTHERS

POLICY = "default-src 'self'"
MIDDLEWARE = [f"{__name__}.strict", *OTHERS]


def strict(get_response):
    """Middleware that sets the header."""

    def answer(request):
        response = get_response(request)
        if request.path.startswith("/admin/"):
            response["Content-Security-Policy"] = POLICY
        return response

    return answer
