"""What things are called at RabbitMQ, on which processes of all versions agree."""

from channels.layers.rabbitmq import names


def test_names_begin_with_channels_and_the_prefix():
    assert names.exchange_name("asgi") == "channels.asgi"
    assert names.process_queue("asgi", "abc", 3) == "channels.asgi.process.abc.3"
    assert names.named_queue("asgi", "jobs") == "channels.asgi.queue.jobs"
    assert names.expired_queue("asgi") == "channels.asgi.expired"


def test_the_channel_of_a_queue_is_known():
    assert names.channel_of("asgi", names.named_queue("asgi", "jobs.queue.1")) == "jobs.queue.1"


def test_keys_of_groups_and_of_processes_differ():
    assert names.group_of(names.group_key("p.room")) == "p.room"
    assert names.group_of(names.process_key("g.abc")) is None
