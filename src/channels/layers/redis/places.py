"""Places at Redis servers: a hash for each, and a lease for each that holds some."""

import asyncio
from collections.abc import Mapping

from ..._runtime.backstage import ignore_failure
from ..._runtime.loops import PerLoop
from ..broker.transport import Held
from .keys import holder_key, place_key
from .partitions import Partitions, milliseconds

__all__ = ["Places"]


class Places:
    """Holds places; see :class:`~channels.layers.broker.transport.Transport`.

    The calls of a holder are numbered, in each partition by themselves, so that a server which has
    lost the last of them, as in a failover, notices with the next.

    Args:
        partitions: where the places are.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        # By holder and partition: the number of the last call. A holder belongs to an event loop.
        self._calls: PerLoop[dict[str, dict[int, int]]] = PerLoop(dict)

    async def hold(
        self,
        holder: str,
        numbers: Mapping[str, tuple[int, int | None]],
        *,
        lease: float,
        keep: float,
        former: str | None,
    ) -> Held:
        """Say how many places a holder has, and renew its lease."""
        calls = self._calls.get()
        if former is not None:
            calls.pop(former, None)
        mine = calls.setdefault(holder, {})
        spread: dict[int, list[str]] = {} if numbers else {partition: [] for partition in mine}
        for name in numbers:
            spread.setdefault(self._partitions.number_of(name), []).append(name)
        lives = milliseconds(lease), milliseconds(keep)
        asked: list[tuple[list[str], asyncio.Future[int]]] = []
        for partition, names in spread.items():  # all are sent in this turn of the event loop
            mine[partition] = mine.get(partition, 0) + 1
            said = {name: numbers[name] for name in names}
            call = self._call(partition, holder, former, mine[partition], lives, said)
            asked.append((names, call))
        changed: list[str] = []
        full, known = None, True
        for names, answer in asked:
            # A call that was given up would be missed by the server: it goes on.
            result = await asyncio.shield(answer)
            if result == 0:
                changed += names
            elif result > 0:
                full = names[result - 1]
            else:
                known = False
        return Held(known, full, changed)

    def _call(
        self,
        partition: int,
        holder: str,
        former: str | None,
        call: int,
        lives: tuple[int, int],
        numbers: Mapping[str, tuple[int, int | None]],
    ) -> "asyncio.Future[int]":
        base = self._partitions.bases[partition]
        keys = [holder_key(base, holder), holder_key(base, former or holder)]
        keys += [place_key(base, name) for name in numbers]
        arguments: list[str | int] = [base, holder, call, *lives]
        for number, most in numbers.values():
            arguments += (number, "" if most is None else most)
        connection = self._partitions.senders.get().connections[partition]
        answer = connection.run("hold_places", keys, arguments)
        answer.add_done_callback(ignore_failure)
        return answer
