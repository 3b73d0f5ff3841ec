"""A broker for the demo, on this machine and for it alone: mosquitto, or amqtt where there is none.

In production, run a broker of your own, with accounts and TLS, and name it: SHOWCASE_MQTT.
"""

import asyncio
import contextlib
import logging
import shutil
import socket
import tempfile

from django.core.exceptions import ImproperlyConfigured

from .mqtt import Address

HOST = "127.0.0.1"
# Seconds until a broker that has ended is started again, and that one has to end.
PAUSE, PATIENCE = 2.0, 3.0


def find_mosquitto() -> str | None:
    """The program, if it is installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


class Mosquitto:
    """A process of mosquitto, which is started again if it ends. A context manager."""

    kind = "mosquitto"

    def __init__(self, program: str, port: int) -> None:
        self.program, self.address = program, Address(HOST, port)

    async def __aenter__(self) -> Address:
        host, port = self.address
        # Closed, and so removed, in __aexit__.
        self._configuration = tempfile.NamedTemporaryFile("w", suffix=".conf")  # noqa: SIM115
        self._configuration.write(f"listener {port} {host}\nallow_anonymous true\n")
        self._configuration.flush()
        await self._start()
        self._keeping = asyncio.create_task(self._keep())
        return self.address

    async def __aexit__(self, *error: object) -> None:
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()
        self._configuration.close()

    async def _start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            self.program, "-c", self._configuration.name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def _keep(self) -> None:
        while True:
            await self.process.wait()
            await asyncio.sleep(PAUSE)
            await self._start()


class Amqtt:
    """A broker inside this process, for the demo and for tests. A context manager."""

    kind = "amqtt"

    def __init__(self, port: int) -> None:
        self.address = Address(HOST, port)

    async def __aenter__(self) -> Address:
        try:
            from amqtt.broker import Broker  # noqa: PLC0415 - takes a moment, and is rarely needed
        except ImportError:
            raise ImproperlyConfigured(
                "There is no MQTT broker: install mosquitto, or the Python package amqtt, or set "
                "SHOWCASE_MQTT to the HOST:PORT of one."
            ) from None

        logging.getLogger("amqtt").setLevel(logging.ERROR)  # It warns of what is normal.
        listener = {"type": "tcp", "bind": str(self.address)}
        plugins = {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        }
        self.broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
        await self.broker.start()
        return self.address

    async def __aexit__(self, *error: object) -> None:
        with contextlib.suppress(TimeoutError):  # It may wait for a client that is silent.
            await asyncio.wait_for(self.broker.shutdown(), PATIENCE)


def broker(port: int) -> Mosquitto | Amqtt:
    """The better one of those that are here."""
    program = find_mosquitto()
    return Amqtt(port) if program is None else Mosquitto(program, port)
