import pytest
from asgiref.sync import sync_to_async
from django.utils import translation
from django.utils.translation import trans_real

from channels.exceptions import InvalidChannelLayerError
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import Server, until


class Chat(AsyncWebsocketConsumer):
    groups = ["room"]


def entries():
    from django.contrib.admin.models import LogEntry

    return [
        (entry.user.username, entry.object_repr, entry.get_change_message(), entry.get_admin_url())
        for entry in LogEntry.objects.order_by("pk")
    ]


@pytest.mark.parametrize("by", ["user", "group", "channel"])
async def test_connections_end_and_the_log_says_who_has_done_it(people, by):
    from channels.contrib.admin.disconnecting import Target, adisconnect

    server = await Server(Chat.as_asgi(), user=people["plain"]).connect()
    from channels._runtime.connections import connections

    (open_one,) = connections.get().open
    value = {"user": str(people["plain"].pk), "group": "room", "channel": open_one.channel_name}
    await adisconnect(Target(by=by, value=value[by]), people["operator"])
    await until(lambda: server.types()[-1] == "websocket.close")
    assert server.sent[-1]["code"] == 4401
    await server.leave()
    what = f"{by} {value[by]}" + (" (plain)" if by == "user" else "")
    assert await sync_to_async(entries)() == [
        ("operator", what, f"Disconnected the connections of {what}.", None)
    ]


async def test_the_log_is_in_the_language_of_the_site(people):
    from channels.contrib.admin.disconnecting import Target, adisconnect

    with translation.override("de"):
        catalog = trans_real.translation("de")._catalog
        words = {
            "user": "Benutzer",
            "Disconnected the connections of %(what)s.": "Verbindungen von %(what)s getrennt.",
        }
        for word, translated in words.items():
            catalog[word] = translated
        try:
            target = Target(by="user", value=str(people["plain"].pk))
            await adisconnect(target, people["operator"])
        finally:
            trans_real._translations.pop("de")
    what = f"Benutzer {people['plain'].pk} (plain)"
    [entry] = await sync_to_async(entries)()
    assert entry[1:3] == (what, f"Verbindungen von {what} getrennt.")


async def test_a_group_of_an_unknown_layer_is_refused(people):
    from channels.contrib.admin.disconnecting import Target, adisconnect

    with pytest.raises(InvalidChannelLayerError, match="'nowhere'"):
        await adisconnect(Target(by="group", value="room", layer="nowhere"), people["operator"])
