"""Forwarded headers, and what projects write as limits."""

import contextlib
import ipaddress

from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from channels.security.limits.address import TrustedProxies, address_key
from channels.security.limits.options import Limits, limits_from
from channels.security.limits.rates import Rate, as_rate

from . import fuzz

OURS = ["10.0.0.0/8", "fd00::/8"]
X = TrustedProxies.from_setting(OURS)
RFC = TrustedProxies.from_setting({"NETWORKS": OURS, "HEADER": "Forwarded"})
ADDRESSES = st.ip_addresses().filter(
    lambda a: a not in ipaddress.ip_network("10.0.0.0/8") if a.version == 4
    else a not in ipaddress.ip_network("fd00::/8") and a.ipv4_mapped is None
    and a not in ipaddress.ip_network("64:ff9b::/96")
)  # fmt: skip
RUBBISH = st.binary(max_size=60) | st.text(
    alphabet='for=",;:[]. \\_unknow0123456789abcdef', max_size=80
).map(str.encode)


def scope(proxy, header, values):
    return {"client": (proxy, 1), "headers": [(header, value) for value in values]}


@fuzz
@given(st.lists(RUBBISH, max_size=4), st.sampled_from([X, RFC]))
def test_any_header_is_read_without_an_error(values, proxies):
    found = proxies.client_of(scope("10.0.0.1", proxies.header, values))
    assert found is not None
    address_key(found)


@fuzz
@given(st.lists(RUBBISH, max_size=3), ADDRESSES)
def test_what_stands_left_of_the_proxys_word_changes_nothing(forged, client):
    values = [b",".join([*forged, str(client).encode()])]
    assert X.client_of(scope("10.0.0.1", X.header, values)) == client


@fuzz
@given(st.lists(RUBBISH, max_size=3), ADDRESSES)
def test_nothing_forged_becomes_another_client_in_rfc_7239(forged, client):
    """It may at most make the header unreadable; then the client is the proxy."""
    word = f'for="[{client}]"' if client.version == 6 else f"for={client}"
    value = b",".join([*forged, word.encode()])
    found = RFC.client_of(scope("10.0.0.1", RFC.header, [value]))
    assert found == client or str(found) == "10.0.0.1"


@fuzz
@given(ADDRESSES, st.lists(RUBBISH, max_size=3), st.sampled_from([X, RFC]))
def test_who_is_no_proxy_of_ours_is_believed_nothing(client, values, proxies):
    assert proxies.client_of(scope(str(client), proxies.header, values)) == client


@fuzz
@given(st.text(max_size=20) | st.text(alphabet="0123456789./smhdkMiB ", max_size=12))
def test_a_text_is_a_rate_or_is_refused(text):
    try:
        rate = as_rate(text)
    except ImproperlyConfigured:
        return
    assert isinstance(rate, Rate)
    assert rate.interval > 0


VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.just("5/s")


@fuzz
@given(st.dictionaries(st.sampled_from([*Limits.__dataclass_fields__]) | st.text(), VALUES))
def test_a_setting_is_limits_or_is_refused(value):
    with contextlib.suppress(ImproperlyConfigured):
        assert isinstance(limits_from(value, "CHANNELS_LIMITS"), Limits)
