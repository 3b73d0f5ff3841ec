"""The Django application, which brings the page's permissions and its check."""

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

__all__ = ["AdminConfig"]


class AdminConfig(AppConfig):
    """Has one model, without a table: it gives the page its place in the admin, and permissions."""

    name = "channels.contrib.admin"
    label = "channels_admin"
    verbose_name = _("Channels")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Check that the page's WebSocket is routed."""
        from .checks import check_live_page  # noqa: PLC0415 - not before the settings are there

        checks.register(check_live_page)
