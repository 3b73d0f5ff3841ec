from django.dispatch import Signal

from channels._runtime.consumer_signals import send_signal


class Consumer:
    scope = {"type": "websocket"}


def test_listeners_get_the_consumer_its_scope_and_the_rest():
    signal, told, consumer = Signal(), [], Consumer()

    def listen(signal, sender, **arguments):
        told.append((sender, arguments))

    signal.connect(listen)
    send_signal(signal, consumer, code=1000)
    assert told == [(Consumer, {"consumer": consumer, "scope": consumer.scope, "code": 1000})]
