"""Devices in a process of their own."""

import asyncio
import contextlib
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from devices.mqtt import NAME, Address
from devices.simulation import Device, Lamp, Thermometer


class Command(BaseCommand):
    """Simulates devices until it is told to stop (Ctrl-C)."""

    help = "Simulate a lamp and a thermometer, or several, that speak with an MQTT broker."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "broker", nargs="?", default=settings.MQTT, help="HOST:PORT; the page shows it"
        )
        parser.add_argument("--pairs", type=int, default=1, help="lamps and thermometers (1)")
        parser.add_argument("--name", default="simulated", help="how their names begin")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            address = Address.parse(options["broker"] or "")
        except ValueError as error:
            raise CommandError(f"Name a broker, or set SHOWCASE_MQTT: {error}") from None
        name = options["name"]
        devices: list[Device] = []
        for number in range(1, options["pairs"] + 1):
            devices += [Lamp(f"{name}-lamp-{number}"), Thermometer(f"{name}-room-{number}")]
        if not NAME.fullmatch(f"{name}-room-{options['pairs']}"):
            raise CommandError("Names are made of a-z, 0-9 and -, and are short.")
        self.stdout.write(f"{len(devices)} devices speak with {address}. Ctrl-C ends them.")
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(live(devices, address))


async def live(devices: list[Device], address: Address) -> None:
    """Let all of them live."""
    async with asyncio.TaskGroup() as tasks:
        for device in devices:
            tasks.create_task(device.live(address))
