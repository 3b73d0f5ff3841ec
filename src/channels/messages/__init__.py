"""The messages that a JSON consumer accepts: each type declared with its shape.

    class SendMessage(msgspec.Struct):
        room: str
        text: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]

    class Chat(AsyncJsonWebsocketConsumer):
        @accepts("chat.send")
        async def send_message(self, message: SendMessage):
            ...

What a client sends goes to the handler that its ``type`` names, as an object of the declared shape.
Anything else is answered with an error, and reaches no handler.
"""

from .declarations import Declaration, accepts

__all__ = ["Declaration", "accepts"]
