"""What leads from the ``send`` of a consumer to the objects of its server, whatever is between."""

import functools

import pytest

from channels._runtime.servers.search import found_behind
from channels.sessions import InstanceSessionWrapper


class Protocol:
    """Of a server, with a ``send`` for the application."""

    async def send(self, message):
        raise AssertionError("nothing is sent")

    async def relay(self, prefix, message):
        raise AssertionError("nothing is sent")


def recognise(kind):
    return "it" if issubclass(kind, Protocol) else None


def found(send):
    return list(found_behind(send, recognise))


def middleware(send):
    """As most wrap it."""

    async def wrapped(message):
        await send(message)

    return wrapped


class Wrapper:
    def __init__(self, name, send):
        setattr(self, name, send)

    async def wrapped(self, message):
        raise AssertionError("nothing is sent")


class Slotted:
    __slots__ = ("real_send", "send")

    def __init__(self, **attributes):
        for name, value in attributes.items():
            setattr(self, name, value)

    async def wrapped(self, message):
        raise AssertionError("nothing is sent")


class Responder:
    """As Starlette's and others: a method of its own with the same name."""

    def __init__(self, send):
        self.real_send = send

    async def send(self, message):
        await self.real_send(message)


def deep(send):
    for _ in range(5):
        send = Responder(middleware(send)).send
    return send


WAYS = {
    "a bound method": lambda p: p.send,
    "a partial": lambda p: functools.partial(p.relay, "x"),
    "an argument of a partial": lambda p: functools.partial(Protocol.relay, p, "x"),
    "a closure": lambda p: middleware(p.send),
    "closures": lambda p: middleware(middleware(middleware(p.send))),
    "a partial of a closure": lambda p: functools.partial(middleware(p.send)),
    "an attribute send": lambda p: Wrapper("send", p.send).wrapped,
    "an attribute real_send": lambda p: Wrapper("real_send", p.send).wrapped,
    "a slot": lambda p: Slotted(send=p.send).wrapped,
    "the other slot": lambda p: Slotted(real_send=p.send).wrapped,
    "the object itself": lambda p: p,
    "the session's": lambda p: InstanceSessionWrapper({"session": {}}, p.send).send,
    "many of everything": lambda p: deep(p.send),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_object_behind_send_is_found(way):
    protocol = Protocol()
    assert found(WAYS[way](protocol)) == [(protocol, "it")]


def test_an_empty_closure_cell_hides_nothing():
    protocol = Protocol()
    send = protocol.send

    async def wrapped(message):
        await another(message)
        await send(message)

    assert wrapped.__code__.co_freevars == ("another", "send")
    assert found(wrapped) == [(protocol, "it")]
    another = None


async def nothing(message):
    pass


def empty_cell(message):
    if message:
        later = None
    return lambda: later


class Hostile:
    """Whatever asks it for an attribute gets an error, as from a lazy object out of its context."""

    def __call__(self, message):
        raise AssertionError("not to be called")

    def __getattribute__(self, name):
        raise RuntimeError("out of context")


class Computing:
    """To ask it for an attribute has consequences."""

    asked = 0

    @property
    def send(self):
        self.asked += 1
        return Protocol().send

    real_send = send

    async def wrapped(self, message):
        raise AssertionError("nothing is sent")


class Unreadable:
    @property
    def __dict__(self):
        raise RuntimeError("not now")


LEADS_NOWHERE = {
    "a function": lambda: nothing,
    "a builtin": lambda: print,
    "a closure": lambda: middleware(nothing),
    "an empty closure": lambda: empty_cell(None),
    "a partial": lambda: functools.partial(nothing, "x", 1),
    "a module": lambda: functools.partial(nothing, functools),
    "a class": lambda: functools.partial(nothing, Wrapper),
    "hostile": Hostile,
    "a closure of hostile": lambda: middleware(Hostile()),
    "unreadable": Unreadable,
    "empty slots": Slotted,
    "an object": object,
    "None": lambda: None,
}


@pytest.mark.parametrize("send", LEADS_NOWHERE)
def test_nothing_is_found_and_nothing_raises(send):
    assert found(LEADS_NOWHERE[send]()) == []


def test_no_code_of_middleware_is_run():
    computing = Computing()
    assert found(computing.wrapped) == []
    assert computing.asked == 0


def test_lazy_objects_stay_asleep():
    class Lazy:
        @property
        def __class__(self):
            raise AssertionError("asked for its class")

    assert found(functools.partial(nothing, Lazy())) == []


def test_what_leads_in_circles_comes_to_an_end():
    one, other = Responder(None), Responder(None)
    one.real_send, other.real_send = other.send, one.send
    assert found(one.send) == []


def test_at_most_30_objects_are_looked_at():
    looked = []

    def look(kind):
        looked.append(kind)

    send = nothing
    for _ in range(50):
        send = middleware(send)
    assert list(found_behind(send, look)) == []
    assert len(looked) == 30


def test_a_hostile_neighbour_hides_nothing():
    def wrap(send, neighbour):
        async def wrapped(message):
            await send(neighbour)

        return wrapped

    protocol = Protocol()
    assert found(wrap(protocol.send, Hostile())) == [(protocol, "it")]


def test_the_nearest_comes_first():
    near, far = Protocol(), Protocol()

    def wrap(a_far, b_near):
        async def wrapped(message):
            await a_far(b_near)

        return wrapped

    assert found(wrap(middleware(far.send), near.send)) == [(near, "it"), (far, "it")]


def test_nothing_is_looked_for_behind_what_was_found():
    near, far = Protocol(), Protocol()
    near.send = far.send
    assert found(Wrapper("send", near).wrapped) == [(near, "it")]
