"""The floor: the server's own cost, with an application that parses and checks nothing."""

from collections import defaultdict

rooms: defaultdict[str, dict] = defaultdict(dict)


async def application(scope, receive, send):
    path = scope["path"]
    room = rooms[path] if path.startswith("/chat/") else {}
    await receive()
    room[id(send)] = send
    await send({"type": "websocket.accept"})
    try:
        while (event := await receive())["type"] == "websocket.receive":
            message = {"type": "websocket.send", "text": event["text"]}
            for send_to_member in tuple(room.values()):
                await send_to_member(message)
    finally:
        del room[id(send)]
