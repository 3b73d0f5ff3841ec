"""The groups of consumers: joined before ``connect()``, left at the end."""

from typing import Any

from ..exceptions import BrokerError, InvalidChannelLayerError

__all__ = ["join_groups", "leave_groups", "own_groups"]


def own_groups(consumer: Any) -> None:
    """Give the instance a list of its own, so that appending to it changes no other's."""
    groups = consumer.groups
    if groups is None:
        consumer.groups = []
    elif type(groups) is list and getattr(type(consumer), "groups", None) is groups:
        consumer.groups = [*consumer.groups]


async def join_groups(consumer: Any) -> None:
    """Join all groups. If that fails, the consumer's list has those that were joined.

    Raises:
        TypeError: ``groups`` is text.
    """
    joined: list[Any] = []
    if isinstance(consumer.groups, str):
        name, consumer.groups = consumer.groups, joined
        raise TypeError(
            f"groups of {type(consumer).__qualname__} is text, each character of which would be a "
            f"group; write groups = [{name!r}]"
        )
    try:
        for group in consumer.groups or ():
            await _method(consumer, "group_add")(group, consumer.channel_name)
            joined.append(group)
    except BaseException:
        consumer.groups = joined  # those that there are to leave
        raise


async def leave_groups(consumer: Any) -> None:
    """Leave all groups, also after one that could not be left.

    Raises:
        Exception: the first failure.
    """
    failures: list[Exception] = []
    for group in consumer.groups or ():
        try:
            await _method(consumer, "group_discard")(group, consumer.channel_name)
        except BrokerError:  # nor would it let the others be left
            raise
        except Exception as error:  # noqa: BLE001 - of whatever layer; the others can be left
            failures.append(error)
    if failures:
        raise failures[0]


def _method(consumer: Any, name: str) -> Any:
    method = getattr(getattr(consumer, "channel_layer", None), name, None)
    if method is None or not hasattr(consumer, "channel_name"):
        raise InvalidChannelLayerError("BACKEND is unconfigured or doesn't support groups")
    return method
