"""Whatever another process sends about itself, it is read, or it is no answer."""

from hypothesis import given
from hypothesis import strategies as st

from channels.live.figures import Connections, Process, read
from channels.live.rates import overview
from channels.live.text import as_text

from . import fuzz

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(Process.__struct_fields__ + Connections.__struct_fields__)


@fuzz
@given(st.dictionaries(NAMES, VALUES), st.booleans())
def test_answers_of_rubbish(content: dict[str, object], named: bool) -> None:
    if named:
        content |= {"process": "a", "clock": 1.0}
    read(Connections, content)
    process = read(Process, content)
    found = overview([] if process is None else [process], unreadable=int(process is None))
    assert as_text(found).replace("\n", "").isprintable()
