"""Which view serves which page."""

from typing import Any

urlpatterns: list[Any] = []
