"""Devices that are not there. Real ones do the same, in MicroPython for example."""

import asyncio
import contextlib
import json
import random
from typing import Any

import aiomqtt

from .house import is_brightness
from .mqtt import PREFIX, Address, keep_connected

#: Seconds between two measurements.
INTERVAL = 2.0


class Device:
    """Publishes its state, and obeys."""

    def __init__(self, name: str) -> None:
        self.topic = f"{PREFIX}/{name}"

    def state(self) -> dict[str, Any]:
        """What it publishes."""
        raise NotImplementedError

    def obey(self, command: Any) -> None:
        """Do what somebody wants, if it is possible."""

    async def live(self, address: Address) -> None:
        """Be there, for ever."""
        will = aiomqtt.Will(f"{self.topic}/online", b"0", qos=1, retain=True)
        await keep_connected(address, self.converse, will)

    async def converse(self, client: aiomqtt.Client) -> None:
        """Say what there is to say while the connection holds."""
        await client.subscribe(f"{self.topic}/set", qos=1)
        await self.tell(client)
        await client.publish(f"{self.topic}/online", b"1", qos=1, retain=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.work(client))
                tasks.create_task(self.listen(client))
        except asyncio.CancelledError:
            # Who leaves in good order has no last will.
            with contextlib.suppress(aiomqtt.MqttError):
                topic = f"{self.topic}/online"
                await client.publish(topic, b"0", qos=1, retain=True, timeout=1)
            raise

    async def tell(self, client: aiomqtt.Client) -> None:
        """Publish the state, for those who come later, too."""
        await client.publish(f"{self.topic}/state", json.dumps(self.state()), qos=1, retain=True)

    async def listen(self, client: aiomqtt.Client) -> None:
        """Obey, and publish what has come of it."""
        async for message in client.messages:
            with contextlib.suppress(ValueError, TypeError):
                self.obey(json.loads(message.payload))
            await self.tell(client)

    async def work(self, client: aiomqtt.Client) -> None:
        """Do what it does by itself."""


class Lamp(Device):
    """Is on or off, and brighter or darker."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.on, self.brightness = False, 60

    def state(self) -> dict[str, Any]:
        return {"kind": "lamp", "on": self.on, "brightness": self.brightness}

    def obey(self, command: Any) -> None:
        match command:
            case {"on": bool(on), "brightness": brightness} if is_brightness(brightness):
                self.on, self.brightness = on, brightness


class Thermometer(Device):
    """Measures a temperature that changes slowly."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.celsius = random.uniform(18, 24)

    def state(self) -> dict[str, Any]:
        return {"kind": "thermometer", "celsius": round(self.celsius, 1)}

    async def work(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self.celsius += random.gauss(0, 0.15) + (21 - self.celsius) * 0.01
            await self.tell(client)


def household() -> list[Device]:
    """The devices of the demo."""
    return [
        Lamp("desk-lamp"),
        Lamp("hall-lamp"),
        Thermometer("kitchen"),
        Thermometer("living-room"),
    ]
