"""The names and parameters that projects rely on, written down by hand.

They are those of channels 4.3 and channels_redis 4.3, as far as their documentation and the public
stubs (types-channels) name them or projects are known to import them. A difference that is meant
is in ``docs/howto/migrate.md``.
"""

import importlib
import inspect
from pathlib import Path

import pytest

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.longpoll import AsyncLongPollConsumer, LongPollConsumer
from channels.generic.sse import AsyncSseConsumer, SseConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

NAMES = {
    "channels": ["DEFAULT_CHANNEL_LAYER", "__version__"],
    "channels.apps": ["ChannelsConfig"],
    "channels.auth": [
        "AuthMiddleware", "AuthMiddlewareStack", "UserLazyObject", "_get_user_session_key",
        "get_user", "login", "logout",
    ],
    "channels.consumer": [
        "AsyncConsumer", "StopConsumer", "SyncConsumer", "aclose_old_connections",
        "await_many_dispatch", "database_sync_to_async", "get_channel_layer", "get_handler_name",
    ],
    "channels.db": [
        "DatabaseSyncToAsync", "aclose_old_connections", "close_old_connections",
        "database_sync_to_async",
    ],
    "channels.exceptions": [
        "AcceptConnection", "ChannelFull", "DenyConnection", "InvalidChannelLayerError",
        "MessageTooLarge", "RequestAborted", "RequestTimeout", "StopConsumer",
    ],
    "channels.generic.http": ["AsyncHttpConsumer", "aclose_old_connections"],
    "channels.generic.websocket": [
        "AcceptConnection", "AsyncJsonWebsocketConsumer", "AsyncWebsocketConsumer",
        "DenyConnection", "InvalidChannelLayerError", "JsonWebsocketConsumer", "StopConsumer",
        "WebsocketConsumer", "aclose_old_connections",
    ],
    "channels.layers": [
        "BaseChannelLayer", "ChannelFull", "ChannelLayerManager", "DEFAULT_CHANNEL_LAYER",
        "InMemoryChannelLayer", "InvalidChannelLayerError", "channel_layers", "get_channel_layer",
    ],
    "channels.management.commands.runworker": ["Command", "Worker", "get_channel_layer"],
    "channels.middleware": ["BaseMiddleware"],
    "channels.routing": [
        "ChannelNameRouter", "ProtocolTypeRouter", "URLRouter", "get_default_application",
    ],
    "channels.security.websocket": [
        "AllowedHostsOriginValidator", "OriginValidator", "WebsocketDenier",
    ],
    "channels.sessions": [
        "CookieMiddleware", "InstanceSessionWrapper", "SessionMiddleware",
        "SessionMiddlewareStack",
    ],
    "channels.testing": [
        "ApplicationCommunicator", "ChannelsLiveServerTestCase", "HttpCommunicator",
        "WebsocketCommunicator",
    ],
    "channels.testing.application": ["ApplicationCommunicator"],
    "channels.testing.http": ["HttpCommunicator"],
    "channels.testing.live": ["ChannelsLiveServerTestCase", "make_application"],
    "channels.testing.websocket": ["WebsocketCommunicator"],
    "channels.utils": ["await_many_dispatch", "name_that_thing"],
    "channels.worker": ["Worker"],
    "channels_redis": ["__version__"],
    "channels_redis.core": [
        "BaseChannelLayer", "ChannelFull", "RedisChannelLayer", "_consistent_hash", "create_pool",
        "decode_hosts", "registry",
    ],
    "channels_redis.pubsub": [
        "RedisPubSubChannelLayer", "_consistent_hash", "create_pool", "decode_hosts", "registry",
    ],
    "channels_redis.serializers": [
        "BaseMessageSerializer", "JSONSerializer", "MsgPackSerializer", "SerializerDoesNotExist",
        "SerializersRegistry", "registry",
    ],
    "channels_redis.utils": ["_consistent_hash", "create_pool", "decode_hosts"],
}  # fmt: skip

# Parameters as they stand after ``self``; what stands behind "..." may follow, and is our own.
PARAMETERS = {
    "channels.auth._get_user_session_key": "session",
    "channels.auth.get_user": "scope",
    "channels.auth.login": "scope, user, backend=None",
    "channels.auth.logout": "scope",
    "channels.auth.AuthMiddleware": "inner",
    "channels.auth.AuthMiddleware.populate_scope": "scope",
    "channels.auth.AuthMiddleware.resolve_scope": "scope",
    "channels.auth.AuthMiddlewareStack": "inner",
    "channels.consumer.get_handler_name": "message",
    "channels.consumer.AsyncConsumer.__call__": "scope, receive, send",
    "channels.consumer.AsyncConsumer.dispatch": "message",
    "channels.consumer.AsyncConsumer.send": "message",
    "channels.consumer.AsyncConsumer.as_asgi": "**initkwargs",
    "channels.consumer.SyncConsumer.dispatch": "message",
    "channels.consumer.SyncConsumer.send": "message",
    "channels.generic.http.AsyncHttpConsumer.send_headers": "*, status=200, headers=None",
    "channels.generic.http.AsyncHttpConsumer.send_body": "body, *, more_body=False",
    "channels.generic.http.AsyncHttpConsumer.send_response": "status, body, **kwargs",
    "channels.generic.http.AsyncHttpConsumer.handle": "body",
    "channels.generic.http.AsyncHttpConsumer.disconnect": "",
    "channels.generic.http.AsyncHttpConsumer.http_request": "message",
    "channels.generic.http.AsyncHttpConsumer.http_disconnect": "message",
    "channels.layers.get_channel_layer": "alias='default'",
    "channels.layers.ChannelLayerManager.make_backend": "name",
    "channels.layers.ChannelLayerManager.make_test_backend": "name",
    "channels.layers.ChannelLayerManager.set": "key, layer",
    "channels.layers.BaseChannelLayer": "expiry=60, capacity=100, channel_capacity=None",
    "channels.layers.BaseChannelLayer.compile_capacities": "channel_capacity",
    "channels.layers.BaseChannelLayer.get_capacity": "channel",
    "channels.layers.BaseChannelLayer.match_type_and_length": "name",
    "channels.layers.BaseChannelLayer.require_valid_channel_name": "name, receive=False",
    "channels.layers.BaseChannelLayer.require_valid_group_name": "name",
    "channels.layers.BaseChannelLayer.valid_channel_names": "names, receive=False",
    "channels.layers.BaseChannelLayer.valid_channel_name": "channel_name, receive=False",
    "channels.layers.BaseChannelLayer.valid_group_name": "group_name",
    "channels.layers.BaseChannelLayer.non_local_name": "name",
    "channels.layers.BaseChannelLayer.send": "channel, message",
    "channels.layers.BaseChannelLayer.receive": "channel",
    "channels.layers.BaseChannelLayer.new_channel": "",
    "channels.layers.BaseChannelLayer.flush": "",
    "channels.layers.BaseChannelLayer.group_add": "group, channel",
    "channels.layers.BaseChannelLayer.group_discard": "group, channel",
    "channels.layers.BaseChannelLayer.group_send": "group, message",
    "channels.layers.InMemoryChannelLayer": (
        "expiry=60, group_expiry=86400, capacity=100, channel_capacity=None, ..."
    ),
    "channels.layers.InMemoryChannelLayer.new_channel": "prefix='specific.'",
    "channels.layers.InMemoryChannelLayer.close": "",
    "channels.middleware.BaseMiddleware": "inner",
    "channels.middleware.BaseMiddleware.__call__": "scope, receive, send",
    "channels.routing.ProtocolTypeRouter": "application_mapping",
    "channels.routing.URLRouter": "routes",
    "channels.routing.ChannelNameRouter": "application_mapping",
    "channels.routing.get_default_application": "",
    "channels.security.websocket.OriginValidator": "application, allowed_origins",
    "channels.security.websocket.OriginValidator.valid_origin": "parsed_origin",
    "channels.security.websocket.OriginValidator.validate_origin": "parsed_origin",
    "channels.security.websocket.OriginValidator.match_allowed_origin": "parsed_origin, pattern",
    "channels.security.websocket.OriginValidator.get_origin_port": "origin",
    "channels.security.websocket.AllowedHostsOriginValidator": "application",
    "channels.sessions.CookieMiddleware": "inner",
    "channels.sessions.CookieMiddleware.set_cookie": (
        "message, key, value='', max_age=None, expires=None, path='/', domain=None, "
        "secure=False, httponly=False, samesite='lax'"
    ),
    "channels.sessions.CookieMiddleware.delete_cookie": "message, key, path='/', domain=None, ...",
    "channels.sessions.InstanceSessionWrapper": "scope, send",
    "channels.sessions.InstanceSessionWrapper.resolve_session": "",
    "channels.sessions.InstanceSessionWrapper.save_session": "",
    "channels.sessions.InstanceSessionWrapper.send": "message",
    "channels.sessions.SessionMiddleware": "inner",
    "channels.sessions.SessionMiddlewareStack": "inner",
    "channels.testing.ApplicationCommunicator": "application, scope",
    "channels.testing.ApplicationCommunicator.send_input": "message",
    "channels.testing.ApplicationCommunicator.receive_output": "timeout=1",
    "channels.testing.ApplicationCommunicator.receive_nothing": "timeout=0.1, interval=0.01",
    "channels.testing.ApplicationCommunicator.wait": "timeout=1",
    "channels.testing.ApplicationCommunicator.stop": "exceptions=True",
    "channels.testing.HttpCommunicator": "application, method, path, body=b'', headers=None",
    "channels.testing.HttpCommunicator.get_response": "timeout=1",
    "channels.testing.WebsocketCommunicator": (
        "application, path, headers=None, subprotocols=None, spec_version=None"
    ),
    "channels.testing.WebsocketCommunicator.connect": "timeout=1",
    "channels.testing.WebsocketCommunicator.send_to": "text_data=None, bytes_data=None",
    "channels.testing.WebsocketCommunicator.send_json_to": "data",
    "channels.testing.WebsocketCommunicator.receive_from": "timeout=1",
    "channels.testing.WebsocketCommunicator.receive_json_from": "timeout=1",
    "channels.testing.WebsocketCommunicator.disconnect": "code=1000, timeout=1",
    "channels.testing.live.make_application": "*, static_wrapper",
    "channels.utils.await_many_dispatch": "consumer_callables, dispatch",
    "channels.utils.name_that_thing": "thing",
    "channels.worker.Worker": "application, channels, channel_layer, max_applications=1000, ...",
    "channels.worker.Worker.listener": "channel",
    "channels.worker.Worker.application_send": "scope, message",
    "channels.worker.Worker.application_exception": "exception, application_details",
    "channels.worker.Worker.get_or_create_application_instance": "scope_id, scope",
    "channels_redis.core.RedisChannelLayer": (
        "hosts=None, prefix='asgi', expiry=60, group_expiry=86400, capacity=100, "
        "channel_capacity=None, symmetric_encryption_keys=None, random_prefix_length=12, "
        "serializer_format='msgpack', ..."
    ),
    "channels_redis.core.RedisChannelLayer.connection": "index",
    "channels_redis.core.RedisChannelLayer.consistent_hash": "value",
    "channels_redis.core.RedisChannelLayer.deserialize": "message",
    "channels_redis.core.RedisChannelLayer.serialize": "message",
    "channels_redis.core.RedisChannelLayer.new_channel": "prefix='specific'",
    "channels_redis.core.RedisChannelLayer.close_pools": "",
    "channels_redis.pubsub.RedisPubSubChannelLayer": (
        "hosts=None, prefix='asgi', on_disconnect=None, on_reconnect=None, "
        "symmetric_encryption_keys=None, serializer_format='msgpack', ..."
    ),
    "channels_redis.pubsub.RedisPubSubChannelLayer.deserialize": "message",
    "channels_redis.pubsub.RedisPubSubChannelLayer.serialize": "message",
    "channels_redis.pubsub.RedisPubSubChannelLayer.new_channel": "prefix='specific'",
    "channels_redis.serializers.BaseMessageSerializer": (
        "symmetric_encryption_keys=None, random_prefix_length=0, expiry=None"
    ),
    "channels_redis.serializers.BaseMessageSerializer.as_bytes": "message, *args, **kwargs",
    "channels_redis.serializers.BaseMessageSerializer.from_bytes": "message, *args, **kwargs",
    "channels_redis.serializers.BaseMessageSerializer.serialize": "message",
    "channels_redis.serializers.BaseMessageSerializer.deserialize": "message",
    "channels_redis.serializers.BaseMessageSerializer.make_fernet": "key",
    "channels_redis.serializers.SerializersRegistry.register_serializer": (
        "format, serializer_class"
    ),
    "channels_redis.serializers.SerializersRegistry.get_serializer": "format, *args, **kwargs",
    "channels_redis.utils._consistent_hash": "value, ring_size",
    "channels_redis.utils.create_pool": "host",
    "channels_redis.utils.decode_hosts": "hosts",
}

# Shared by the four classes; those that are not async have the same parameters.
WEBSOCKET = {
    "accept": "subprotocol=None, headers=None",
    "close": "code=None, reason=None",
    "connect": "",
    "disconnect": "code",
    "websocket_connect": "message",
    "websocket_disconnect": "message",
    "websocket_receive": "message",
}
PLAIN = {
    "receive": "text_data=None, bytes_data=None",
    "send": "text_data=None, bytes_data=None, close=False",
}
JSON = {
    "decode_json": "text_data",
    "encode_json": "content",
    "receive": "text_data=None, bytes_data=None, **kwargs",
    "receive_json": "content, **kwargs",
    "send_json": "content, close=False",
}
for _class in ("WebsocketConsumer", "AsyncWebsocketConsumer"):
    for _name, _parameters in {**WEBSOCKET, **PLAIN}.items():
        PARAMETERS[f"channels.generic.websocket.{_class}.{_name}"] = _parameters
for _class in ("JsonWebsocketConsumer", "AsyncJsonWebsocketConsumer"):
    for _name, _parameters in {**WEBSOCKET, **JSON}.items():
        PARAMETERS[f"channels.generic.websocket.{_class}.{_name}"] = _parameters

ATTRIBUTES = {
    "channels.apps.ChannelsConfig": ["name", "verbose_name"],
    "channels.consumer.AsyncConsumer": ["_sync", "channel_layer_alias"],
    "channels.generic.websocket.WebsocketConsumer": ["groups"],
    "channels.generic.websocket.AsyncWebsocketConsumer": ["groups"],
    "channels.layers.BaseChannelLayer": [
        "MAX_NAME_LENGTH", "channel_name_regex", "extensions", "group_name_regex",
        "invalid_name_error",
    ],
    "channels.layers.ChannelLayerManager": ["configs"],
    "channels.layers.InMemoryChannelLayer": ["channels", "extensions", "groups"],
    "channels.management.commands.runworker.Command": ["leave_locale_alone", "worker_class"],
    "channels.sessions.InstanceSessionWrapper": [
        "cookie_response_message_types", "save_message_types",
    ],
    "channels.testing.ChannelsLiveServerTestCase": [
        "ProtocolServerProcess", "host", "serve_static",
        "static_wrapper",
    ],
    "channels_redis.core.RedisChannelLayer": ["extensions", "ring_size"],
    "channels_redis.pubsub.RedisPubSubChannelLayer": ["extensions"],
}  # fmt: skip


def find(path):
    """The object at a dotted path."""
    head, _, name = path.rpartition(".")
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        return getattr(find(head), name)


def shown(parameter):
    """A parameter as it is written here."""
    mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return f"{mark}{parameter.name}{default}"


def parameters_of(path):
    """The parameters of a class or callable, but for ``self``."""
    owner = find(path.rpartition(".")[0])
    found = list(inspect.signature(find(path)).parameters.values())
    if isinstance(owner, type) and found and found[0].name == "self":
        found = found[1:]
    texts, named_only = [], False
    for parameter in found:
        if parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            named_only = True
            texts.append("*")
        texts.append(shown(parameter))
    return texts


@pytest.mark.parametrize("module", NAMES)
def test_names_can_be_imported(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module] if not hasattr(found, name)] == []


@pytest.mark.parametrize("path", PARAMETERS)
def test_parameters_have_their_names_order_and_defaults(path):
    expected = [text for text in PARAMETERS[path].split(", ") if text]
    found = parameters_of(path)
    if expected and expected[-1] == "...":
        expected = expected[:-1]
        more = found[len(expected) :]
        assert all("=" in text or text.startswith("*") for text in more)  # nobody has to give them
        found = found[: len(expected)]
    assert found == expected


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes_are_there(path):
    found = find(path)
    assert [name for name in ATTRIBUTES[path] if not hasattr(found, name)] == []


def test_exceptions_are_one_class_wherever_they_are_imported_from():
    from channels import consumer, exceptions, layers

    assert consumer.StopConsumer is exceptions.StopConsumer
    assert layers.ChannelFull is exceptions.ChannelFull
    assert layers.InvalidChannelLayerError is exceptions.InvalidChannelLayerError


# What consumers of channels 4.3 have.
BEFORE = {
    "accept", "as_asgi", "body", "channel_layer_alias", "close", "connect", "decode_json",
    "disconnect", "dispatch", "encode_json", "groups", "handle", "http_disconnect",
    "http_request", "receive", "receive_json", "send", "send_body", "send_headers", "send_json",
    "send_response", "websocket_connect", "websocket_disconnect", "websocket_receive",
}  # fmt: skip

CONSUMERS = [
    AsyncConsumer, SyncConsumer, AsyncWebsocketConsumer, WebsocketConsumer,
    AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, AsyncHttpConsumer, AsyncSseConsumer,
    SseConsumer, AsyncLongPollConsumer, LongPollConsumer,
]  # fmt: skip


@pytest.mark.parametrize("cls", CONSUMERS)
def test_private_names_of_consumers_leave_all_others_to_projects(cls):
    private = {name for name in dir(cls) if name.startswith("_") and not name.startswith("__")}
    private |= {name for name in vars(cls()) if name.startswith("_")}
    # The well-known name by which projects ask whether a consumer is synchronous.
    assert {name for name in private if not name.startswith("_channels_")} == {"_sync"}


@pytest.mark.parametrize("cls", CONSUMERS[:7])
def test_the_migration_page_lists_the_names_that_consumers_have_now(cls):
    page = (Path(__file__).parents[2] / "docs/howto/migrate.md").read_text("utf-8")
    _, _, section = page.partition("### Names that your classes may have already")
    table = section.partition("###")[0]
    names = {name for name in dir(cls) if not name.startswith("_")}
    assert {name for name in names - BEFORE if f"`{name}`" not in table} == set()
