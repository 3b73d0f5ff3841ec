import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django_asgi_app = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

import chat_async.routing  # noqa: E402
import chat_background.routing  # noqa: E402
import chat_json_async.routing  # noqa: E402
import chat_json_sync.routing  # noqa: E402
import chat_sync.routing  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    chat_sync.routing.websocket_urlpatterns
                    + chat_async.routing.websocket_urlpatterns
                    + chat_json_sync.routing.websocket_urlpatterns
                    + chat_json_async.routing.websocket_urlpatterns
                    + chat_background.routing.websocket_urlpatterns
                )
            )
        ),
    }
)
