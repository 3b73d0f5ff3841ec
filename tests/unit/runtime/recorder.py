"""A consumer that tests of connections look into."""

from channels.generic.websocket import AsyncWebsocketConsumer

__all__ = ["Recorder"]


class Recorder(AsyncWebsocketConsumer):
    """Keeps what happened to it; the test reaches the instance through ``made``."""

    made: "list[Recorder]"
    layer_messages: list
    log: list

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.made = []

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = []
        self.made.append(self)

    async def receive(self, text_data=None, bytes_data=None):
        self.log.append(text_data)

    async def note(self, event):
        self.log.append(event["text"])

    async def disconnect(self, code):
        self.log.append(("disconnect", code))

    def codes(self):
        return [entry[1] for entry in self.log if isinstance(entry, tuple)]
