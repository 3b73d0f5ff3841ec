from django.dispatch import Signal

from channels._runtime.announce import announce


class Consumer:
    scope = {"type": "websocket"}


def test_listeners_get_the_consumer_its_scope_and_the_rest():
    signal, told, consumer = Signal(), [], Consumer()

    def listen(signal, sender, **arguments):
        told.append((sender, arguments))

    signal.connect(listen)
    announce(signal, consumer, code=1000)
    assert told == [(Consumer, {"consumer": consumer, "scope": consumer.scope, "code": 1000})]
