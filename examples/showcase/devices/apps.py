"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class DevicesConfig(AppConfig):
    """Devices."""

    name = "devices"
    verbose_name = "Devices"
    summary = "Sensors and lamps that speak MQTT, shown and steered by a page."
    index = "devices"
