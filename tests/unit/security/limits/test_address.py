import ipaddress

import pytest
from django.core.exceptions import ImproperlyConfigured

from channels.security.limits.address import (
    UNIX,
    TrustedProxies,
    address_key,
    normalised,
    peer_of,
)


def scope(peer, *headers, name=b"x-forwarded-for"):
    client = None if peer is None else (peer, 1234)
    return {"client": client, "headers": [(name, value.encode()) for value in headers]}


def client(setting, *arguments, **options):
    found = TrustedProxies.from_setting(setting).client_of(scope(*arguments, **options))
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:8080 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("64:ff9b:1::1", "64:ff9b:1::1"),
        ("::1", "::1"),
        ("unknown", None),
        ("_hidden", None),
        ("", None),
        ("1" * 100, None),
        (None, None),
        ("256.1.1.1", None),
    ],
)
def test_addresses(text, address):
    found = normalised(text)
    assert (None if found is None else str(found)) == address


def test_an_ipv6_client_counts_by_its_network():
    keys = {address_key(normalised(f"2001:db8::{n}:{n}")) for n in range(1, 9)}
    assert keys == {"2001:db8::/64"}
    assert address_key(normalised("2001:db8:0:1::1")) == "2001:db8:0:1::/64"
    assert address_key(normalised("::ffff:192.0.2.1")) == "192.0.2.1"


def test_who_has_connected():
    assert peer_of({"client": ("192.0.2.1", 1)}) == ipaddress.ip_address("192.0.2.1")
    assert peer_of({"client": None}) == peer_of({}) == peer_of({"client": ("", 0)}) == UNIX
    assert peer_of({"client": ("testclient", 1)}) is None


@pytest.mark.parametrize("setting", [None, [], ["10.0.0.0/8"], ["unix"]])
def test_nobody_else_is_believed(setting):
    assert client(setting, "192.0.2.1", "198.51.100.7") == "192.0.2.1"


def test_a_proxy_is_believed():
    assert client(["10.0.0.0/8"], "10.1.2.3", "198.51.100.7") == "198.51.100.7"
    assert client(["10.1.2.3"], "::ffff:10.1.2.3", "198.51.100.7") == "198.51.100.7"
    assert client(["unix"], None, "198.51.100.7") == "198.51.100.7"
    assert client(["::1"], "::1", "198.51.100.7") == "198.51.100.7"
    assert client(["fd00::/8"], "fd00::7%eth0", "[2001:db8::1]:99") == "2001:db8::1"
    assert client(["::ffff:10.0.0.0/104"], "10.1.2.3", "198.51.100.7") == "198.51.100.7"
    assert client(["::ffff:10.1.2.3"], "::ffff:10.1.2.3", "198.51.100.7") == "198.51.100.7"
    networks = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_address("fd00::1")]
    assert client(networks, "fd00::1", "::ffff:198.51.100.7, 10.0.0.1") == "198.51.100.7"
    assert client(["2001:db8::/32"], "2001:db8::5", "198.51.100.7:443") == "198.51.100.7"
    assert client(["10.0.0.0/8"], "10.1.2.3") == "10.1.2.3", "it has said nothing"
    assert client(None, None, "198.51.100.7") is None, "a Unix socket that is not trusted"
    assert client(["unix"], None) is None
    assert client(["unix"], "testclient", "198.51.100.7") is None


def test_what_the_client_itself_has_written_is_not():
    """It stands left of what the nearest proxies have added."""
    assert client(["10.0.0.0/8"], "10.1.2.3", "1.1.1.1, 198.51.100.7") == "198.51.100.7"
    assert client(["10.0.0.0/8"], "10.1.2.3", "1.1.1.1", "198.51.100.7") == "198.51.100.7"
    chain = "1.1.1.1, 198.51.100.7, 10.9.9.9"
    assert client(["10.0.0.0/8"], "10.1.2.3", chain) == "198.51.100.7"


def test_hops_are_counted_from_the_right():
    everybody = {"NETWORKS": ["0.0.0.0/0", "::/0"], "HOPS": 1}
    assert client(everybody, "203.0.113.1", "1.1.1.1, 198.51.100.7") == "198.51.100.7"
    assert client({**everybody, "HOPS": 2}, "203.0.113.1", "1.1.1.1, 198.51.100.7") == "1.1.1.1"
    inner = {"NETWORKS": ["10.0.0.0/8"], "HOPS": 1}
    assert client(inner, "10.1.2.3", "198.51.100.7, 10.9.9.9") == "10.9.9.9"


def test_rubbish_ends_what_is_believed():
    assert client(["10.0.0.0/8"], "10.1.2.3", "198.51.100.7, rubbish, 10.9.9.9") == "10.9.9.9"
    assert client(["10.0.0.0/8"], "10.1.2.3", "rubbish") == "10.1.2.3"
    assert client(["10.0.0.0/8"], "10.1.2.3", ", ".join(["10.0.0.1"] * 100)) == "10.0.0.1"


FORWARDED = {"NETWORKS": ["10.0.0.0/8"], "HEADER": "Forwarded"}


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ("For=198.51.100.7;proto=https;by=10.1.2.3", "198.51.100.7"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for="198.51.100.7:80"; host=x', "198.51.100.7"),
        ("for=1.1.1.1, for=198.51.100.7", "198.51.100.7"),
        ("for=1.1.1.1, for=198.51.100.7 , proto=https;for=10.9.9.9", "198.51.100.7"),
        ('for="198.51.\\100.7"', "198.51.100.7"),
        ('for="[::ffff:198.51.100.7]"', "198.51.100.7"),
        ("for=[2001:db8::1]", "2001:db8::1"),
        ('for="[fe80::1%eth0]:80"', "fe80::1"),
        ("for=unknown", "10.1.2.3"),
        ("for=_secret, for=10.9.9.9", "10.9.9.9"),
        ("proto=https", "10.1.2.3"),
        ("", "10.1.2.3"),
        ('for="1.1.1.1, for=198.51.100.7', "10.1.2.3"),
        ("for=1.1.1.1 for=2.2.2.2", "10.1.2.3"),
        ("for=1.1.1.1," * 2000, "10.1.2.3"),
        (",,,;;,", "10.1.2.3"),
    ],
)
def test_the_header_of_rfc_7239(value, address):
    assert client(FORWARDED, "10.1.2.3", value, name=b"forwarded") == address


def test_only_one_of_the_headers_is_read():
    headers = [(b"x-forwarded-for", b"1.1.1.1"), (b"forwarded", b"for=198.51.100.7")]
    asked = {"client": ("10.1.2.3", 1), "headers": headers}
    assert str(TrustedProxies.from_setting(FORWARDED).client_of(asked)) == "198.51.100.7"
    assert str(TrustedProxies.from_setting(["10.0.0.0/8"]).client_of(asked)) == "1.1.1.1"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("10.0.0.0/8", "must be a list of networks"),
        (7, "must be a list of networks"),
        (["10.0.0.0/99"], "'10.0.0.0/99', which is no network"),
        (["proxy.example"], "which is no network"),
        ([5], "has 5, which is no network"),
        ([b"1234"], "which is no network"),
        (["[::1]"], "which is no network"),
        (["::ffff:0:0/96"], "trusts every address"),
        ({"NETWORK": []}, "has 'NETWORK'; there are NETWORKS, HOPS and HEADER"),
        ({"NETWORKS": ["10.0.0.0/8"], "HOPS": 0}, "HOPS of CHANNELS_TRUSTED_PROXIES"),
        ({"NETWORKS": [], "HOPS": "1"}, "HOPS of CHANNELS_TRUSTED_PROXIES"),
        ({"NETWORKS": [], "HEADER": "X-Real-IP"}, "HEADER of CHANNELS_TRUSTED_PROXIES"),
        (["0.0.0.0/0"], "trusts every address"),
    ],
)
def test_settings_that_are_none(setting, said):
    with pytest.raises(ImproperlyConfigured, match=said):
        TrustedProxies.from_setting(setting)
