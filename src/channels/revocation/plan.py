"""The setting ``CHANNELS_REVOCATION``."""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

__all__ = ["Plan"]

# Seconds within which everything is looked at.
_INTERVAL = 300.0


class Plan:
    """The setting ``CHANNELS_REVOCATION``: a dict, or None.

    Attributes:
        interval: seconds within which everything that is connected is looked at.
    """

    def __init__(self, interval: float) -> None:
        self.interval = interval

    @classmethod
    def from_settings(cls) -> "Plan | None":
        """As configured; None if nothing is to end by itself.

        Raises:
            ImproperlyConfigured: the setting is none.
        """
        setting = getattr(settings, "CHANNELS_REVOCATION", {})
        if setting is None:
            return None
        if not isinstance(setting, dict) or set(setting) - {"INTERVAL"}:
            raise ImproperlyConfigured(
                "CHANNELS_REVOCATION must be None, or a dict with the key INTERVAL; it is "
                f"{setting!r}."
            )
        interval = setting.get("INTERVAL", _INTERVAL)
        if isinstance(interval, bool) or not isinstance(interval, int | float) or interval <= 0:
            raise ImproperlyConfigured(
                "CHANNELS_REVOCATION['INTERVAL'] must be a number of seconds above 0, not "
                f"{interval!r}."
            )
        return cls(interval)

    @classmethod
    def in_force(cls) -> "Plan | None":
        """As configured; as by default where the setting is none, of which a check tells."""
        try:
            return cls.from_settings()
        except ImproperlyConfigured:
            return cls(_INTERVAL)
