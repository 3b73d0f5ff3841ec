from asgiref.sync import async_to_sync
from channels.generic.websocket import JsonWebsocketConsumer


class ChatConsumer(JsonWebsocketConsumer):
    def connect(self):
        self.user = self.scope["user"]
        self.group = "json_sync_" + self.scope["url_route"]["kwargs"]["room_name"]
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()
        self.send_json({"type": "welcome", "user": self.user.username})

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)
        return super().disconnect(code)

    def receive_json(self, content, **kwargs):
        if content["type"] == "ping":
            self.send_json({"type": "pong"})
        if content["type"] == "say":
            async_to_sync(self.channel_layer.group_send)(
                self.group,
                {"type": "said", "user": self.user.username, "message": content["message"]},
            )
        return super().receive_json(content, **kwargs)

    def said(self, event):
        self.send_json(event)
