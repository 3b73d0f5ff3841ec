"""The devices, the bridge and the pages, with real brokers between them."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from importlib.util import find_spec
from io import StringIO
from typing import Any
from unittest import skipIf

import aiomqtt
from asgiref.sync import async_to_sync
from channels.close_codes import CloseCode
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client, SimpleTestCase, TestCase, override_settings
from django.urls import reverse

from devices import consumers
from devices.broker import Amqtt, Mosquitto, find_mosquitto, free_port
from devices.consumers import CHANNEL
from devices.house import MOST_DEVICES, House
from devices.mqtt import Address
from devices.simulation import Device, Lamp, Thermometer
from showcase.testing import sign_out, socket_of, working

AMQTT = find_spec("amqtt")
LAMP = b'{"kind": "lamp", "on": true, "brightness": 30}'


class HouseTests(SimpleTestCase):
    def test_it_knows_what_devices_have_said(self) -> None:
        house = House()
        house.hear("showcase/a-lamp/online", b"1")
        self.assertEqual(house.as_list(), [])  # What it is, is not known yet.
        house.hear("showcase/a-lamp/state", LAMP)
        house.hear("showcase/a-room/state", b'{"kind": "thermometer", "celsius": 21.26, "id": 7}')
        lamp, room = house.as_list()
        state = {"kind": "lamp", "on": True, "brightness": 30}
        self.assertEqual(lamp, {"name": "a-lamp", "online": True, "state": state})
        state = {"kind": "thermometer", "celsius": 21.3}
        self.assertEqual(room, {"name": "a-room", "online": False, "state": state})
        house.hear("showcase/a-lamp/online", b"0")
        self.assertEqual(house.as_list()[0]["online"], False)
        house.hear("showcase/a-lamp/state", b"")
        self.assertEqual(house.as_list(), [room])
        self.assertEqual(house.rubbish, 0)

    def test_rubbish_is_counted_and_changes_nothing(self) -> None:
        house = House()
        house.hear("showcase/lamp/state", LAMP)
        before = house.as_list()
        rubbish = [
            ("showcase/lamp/state", payload)
            for payload in (
                b"{", b"\xff", b"null", b"[]", b'{"kind": "toaster"}', b"[" * 900,
                b'{"kind": "lamp", "on": 1, "brightness": 30}',
                b'{"kind": "lamp", "on": true, "brightness": 0}',
                b'{"kind": "lamp", "on": true, "brightness": true}',
                b'{"kind": "lamp", "on": true}', LAMP + b" " * 1000,
                b'{"kind": "thermometer", "celsius": NaN}',
                b'{"kind": "thermometer", "celsius": 1e9}',
                b'{"kind": "thermometer", "celsius": "21"}',
            )
        ]  # fmt: skip
        rubbish += [
            ("showcase/lamp/online", b"yes"),
            ("showcase/lamp/set", b"1"),
            ("showcase/Lamp/state", LAMP),
            ("showcase/" + 33 * "x" + "/state", LAMP),
            ("elsewhere/lamp/state", LAMP),
            ("showcase", LAMP),
        ]
        for number, (topic, payload) in enumerate(rubbish, start=1):
            with self.subTest(topic=topic, payload=payload):
                house.hear(topic, payload)
                self.assertEqual((house.rubbish, house.as_list()), (number, before))

    def test_it_is_no_larger_than_it_may_be(self) -> None:
        house = House()
        for number in range(MOST_DEVICES + 5):
            house.hear(f"showcase/lamp-{number}/state", LAMP)
        self.assertEqual(len(house.as_list()), MOST_DEVICES)

    def test_addresses(self) -> None:
        self.assertEqual(Address.parse("localhost:1883"), ("localhost", 1883))
        self.assertEqual(Address.parse("[::1]:1"), ("::1", 1))
        for text in ("", "localhost", ":1", "localhost:", "localhost:0", "a:65536", "a:-1"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                Address.parse(text)
        with self.assertRaisesMessage(CommandError, "Name a broker"):
            call_command("simulate_devices", "nowhere", stdout=StringIO())


@contextlib.asynccontextmanager
async def living(device: Device, address: Address) -> AsyncIterator[None]:
    """A device that is there for a while."""
    task = asyncio.create_task(device.live(address))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class Shown:
    """What a page shows last."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket

    async def until(self, condition: Any) -> dict[str, Any]:
        """The next state for which ``condition`` is true."""
        while True:
            event = await self.socket.receive_json_from(timeout=20)
            assert event["type"] == "state", event
            devices = {device["name"]: device for device in event["devices"]}
            if condition(event, devices):
                return event | {"devices": devices}


@skipIf(AMQTT is None and find_mosquitto() is None, "there is no MQTT broker")
class DevicesTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = get_user_model().objects.create_user("alice")

    def setUp(self) -> None:
        async_to_sync(get_channel_layer().flush)()

    async def open(self, client: Client | None = None) -> WebsocketCommunicator:
        socket = await socket_of(self.alice, "/ws/devices/", client=client)
        await socket.connect()
        return socket

    async def watch(self) -> Shown:
        socket = await self.open()
        await socket.send_json_to({"type": "watch"})
        return Shown(socket)

    async def test_without_a_broker_one_is_brought_along(self) -> None:
        async with working(CHANNEL):
            shown = await self.watch()
            state = await shown.until(lambda state, devices: len(devices) == 4)
            self.assertEqual(state["broker"]["kind"], "mosquitto" if find_mosquitto() else "amqtt")
            await shown.socket.disconnect()

    async def test_it_rests_when_nobody_watches_and_begins_again(self) -> None:
        patience, consumers.PATIENCE = consumers.PATIENCE, 1.0
        try:
            async with working(CHANNEL):
                shown = await self.watch()
                state = await shown.until(lambda state, devices: len(devices) == 4)
                address = Address.parse(state["broker"]["address"])
                while True:
                    try:
                        _, writer = await asyncio.open_connection(*address)
                    except ConnectionError:
                        break
                    writer.close()
                    await asyncio.sleep(0.05)
                again = await self.watch()
                await again.until(lambda state, devices: state["broker"]["is_there"])
                await again.socket.disconnect()
                await shown.socket.disconnect()
        finally:
            consumers.PATIENCE = patience

    @skipIf(AMQTT is None, "amqtt is not installed")
    async def test_amqtt(self) -> None:
        await self.check_everything(Amqtt(free_port()))

    async def test_mosquitto(self) -> None:
        program = find_mosquitto()
        if program is None:
            self.skipTest("mosquitto is not installed")
        await self.check_everything(Mosquitto(program, free_port()))

    async def check_everything(self, broker: Any) -> None:
        """Whatever devices, pages and the broker do, everybody sees the same."""
        address = broker.address
        with override_settings(MQTT=str(address)):
            lamp = Lamp("lamp")
            async with working(CHANNEL):
                # The broker is not there yet.
                early = await self.watch()
                state = await early.until(lambda state, devices: True)
                self.assertFalse(state["broker"]["is_there"])
                async with broker:
                    await early.until(lambda state, devices: state["broker"]["is_there"])
                    async with living(lamp, address), living(Thermometer("room"), address):
                        await self.check_devices(early, address)
                    # They have gone in good order.
                    await early.until(lambda state, devices: not devices["lamp"]["online"])
                # So has the broker.
                await early.until(lambda state, devices: not state["broker"]["is_there"])
                wish = {"type": "set", "device": "lamp", "on": False, "brightness": 1}
                await early.socket.send_json_to(wish)
                while (event := await early.socket.receive_json_from())["type"] != "error":
                    pass
                self.assertIn("away", event["text"])
                # A device that is there comes back by itself, as the bridge does.
                async with living(lamp, address):
                    for _ in range(2):
                        async with broker:
                            state = await early.until(
                                lambda state, devices: (
                                    "lamp" in devices and devices["lamp"]["online"]
                                )
                            )
                            self.assertEqual(state["devices"]["lamp"]["state"], lamp.state())
                        await early.until(lambda state, devices: not state["broker"]["is_there"])
                await early.socket.disconnect()

    async def check_devices(self, early: Shown, address: Address) -> None:
        state = await early.until(
            lambda state, devices: (
                len(devices) == 2 and all(device["online"] for device in devices.values())
            )
        )
        self.assertFalse(state["devices"]["lamp"]["state"]["on"])
        late = await self.watch()
        await late.until(lambda state, devices: len(devices) == 2)
        wish = {"type": "set", "device": "lamp", "on": True, "brightness": 80}
        await late.socket.send_json_to(wish)
        wanted = {"kind": "lamp", "on": True, "brightness": 80}
        for shown in (early, late):
            await shown.until(lambda state, devices: devices["lamp"]["state"] == wanted)
        await late.socket.disconnect()
        # Somebody else's device, which breaks off, and says rubbish before.
        will = aiomqtt.Will("showcase/other/online", b"0", qos=1, retain=True)
        async with aiomqtt.Client(*address, will=will) as client:
            await client.publish("showcase/other/state", LAMP, qos=1, retain=True)
            await client.publish("showcase/other/online", b"1", qos=1, retain=True)
            await client.publish("showcase/other/state", b"{", qos=1)
            await client.publish("showcase/lamp/set", b"{", qos=1)
            await client.publish("showcase/lamp/set", json.dumps({"on": 7}), qos=1)
            await early.until(
                lambda state, devices: (
                    state["rubbish"] == 1 and "other" in devices and devices["other"]["online"]
                )
            )
            break_off(client)
            await early.until(lambda state, devices: not devices["other"]["online"])
            with self.assertRaises(aiomqtt.MqttError):
                async for _ in client.messages:
                    pass

    async def test_what_cannot_be_understood_is_answered(self) -> None:
        alice = await self.open()
        good = {"type": "set", "device": "lamp", "on": True, "brightness": 30}
        for content in (
            {"type": "explode"}, {"type": "set"},
            {**good, "device": "a/b"}, {**good, "device": "#"},
            {**good, "on": 1}, {**good, "brightness": 0}, {**good, "brightness": 1.5},
            {**good, "brightness": True}, {}, [], 1, None, "set",
        ):  # fmt: skip
            with self.subTest(content=content):
                await alice.send_json_to(content)
                self.assertEqual((await alice.receive_json_from())["type"], "error")
        await alice.send_to("no JSON")
        with self.assertRaises(ValueError):  # A server closes such a socket with 1007.
            await alice.receive_output()

    async def test_a_bridge_that_is_away_is_told_of(self) -> None:
        alice = await self.open()
        wish = {"type": "set", "device": "lamp", "on": True, "brightness": 30}
        for _ in range(get_channel_layer().capacity):
            await alice.send_json_to(wish)
        self.assertTrue(await alice.receive_nothing())
        await alice.send_json_to(wish)
        self.assertIn("too much to do", (await alice.receive_json_from())["text"])
        await alice.disconnect()

    async def test_who_has_not_signed_in_or_signs_out_is_told_so(self) -> None:
        stranger = await socket_of(None, "/ws/devices/")
        await stranger.connect()
        self.assertEqual((await stranger.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await stranger.disconnect()
        client = Client()
        alice = await self.open(client)
        await sign_out(self, client)
        self.assertEqual((await alice.receive_output())["code"], CloseCode.UNAUTHORIZED)
        await alice.disconnect()

    def test_the_page_needs_an_account(self) -> None:
        page = reverse("devices")
        self.assertRedirects(self.client.get(page), f"{reverse('sign-in')}?next={page}")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(page), 'data-socket="/ws/devices/"')


def break_off(client: aiomqtt.Client) -> None:
    """End the connection as a device does whose battery is empty."""
    client._client.socket().shutdown(socket.SHUT_RDWR)
