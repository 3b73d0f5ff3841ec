"""What is known of the devices, from what they have published."""

import json
import math
from typing import Any

from .mqtt import NAME, PREFIX

#: Devices that are shown, and bytes that one may say at a time.
MOST_DEVICES, MOST_BYTES = 50, 1000
BRIGHTNESS = range(1, 101)
CELSIUS = (-100, 200)


class House:
    """The devices by their names. What they say is checked before it is believed."""

    def __init__(self) -> None:
        self.devices: dict[str, dict[str, Any]] = {}
        #: Messages that made no sense.
        self.rubbish = 0

    def hear(self, topic: str, payload: bytes) -> None:
        """Take note of a message, or count it as rubbish."""
        match topic.split("/"):
            case [prefix, name, kind] if prefix == PREFIX and NAME.fullmatch(name):
                news = understand(kind, payload)
            case _:
                name, news = "", None
        if news is None:
            self.rubbish += 1
        elif not payload:
            self.devices.pop(name, None)
        elif name in self.devices or len(self.devices) < MOST_DEVICES:
            device = self.devices.setdefault(name, {"name": name, "online": False, "state": None})
            device.update(news)

    def as_list(self) -> list[dict[str, Any]]:
        """Those that have said what they are, for a page."""
        known = [device for device in self.devices.values() if device["state"]]
        return sorted(known, key=lambda device: device["name"])


def understand(kind: str, payload: bytes) -> dict[str, Any] | None:
    """What is new about a device; None if that makes no sense. Nothing: it is gone for good."""
    if kind not in ("online", "state") or len(payload) > MOST_BYTES:
        return None
    if not payload:
        return {}
    if kind == "online":
        return {"online": payload == b"1"} if payload in (b"0", b"1") else None
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    match content:
        case {"kind": "lamp", "on": bool(on), "brightness": brightness} if is_brightness(
            brightness
        ):
            return {"state": {"kind": "lamp", "on": on, "brightness": brightness}}
        case {"kind": "thermometer", "celsius": float() | int() as celsius} if is_celsius(celsius):
            return {"state": {"kind": "thermometer", "celsius": round(float(celsius), 1)}}
    return None


def is_brightness(value: Any) -> bool:
    """Whether it is a percentage that a lamp may have."""
    return type(value) is int and value in BRIGHTNESS


def is_celsius(value: Any) -> bool:
    """Whether it is a temperature that a room may have."""
    return type(value) in (int, float) and math.isfinite(value) and CELSIUS[0] < value < CELSIUS[1]
