"""Transports without states and shared limits say so."""

import pytest

from channels.exceptions import NotSupported
from channels.layers.broker import Stateless


@pytest.mark.parametrize(
    "call",
    [
        lambda transport: transport.set_state("c", "f", b"", 1.0, None, 10),
        lambda transport: transport.get_states("c", None),
        lambda transport: transport.delete_state("c", "f"),
        lambda transport: transport.take_tokens("key", 1.0, 1.0, 1.0, 1.0),
        lambda transport: transport.hold_places("holder", {}, lease=1.0, keep=2.0, former=None),
    ],
)
async def test_what_the_broker_has_not_is_refused(call):
    with pytest.raises(NotSupported, match="Stateless keeps no states"):
        await call(Stateless())
