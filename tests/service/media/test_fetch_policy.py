import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.media.fetch_policy import FetchPolicy, is_public

INSIDE = """
127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1
100.127.255.255 169.254.169.254 192.0.0.1 192.0.2.1 198.18.0.1 198.19.255.255 203.0.113.7 224.0.0.1 239.255.255.255
240.0.0.1 255.255.255.255 ::1 :: ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 ::10.0.0.1 64:ff9b::a9fe:a9fe
64:ff9b::7f00:1 64:ff9b:1::7f00:1 64:ff9b:1:7f00:0:1:: 2002:a9fe:a9fe:: 2002:7f00:1:: fd00:ec2::254 fc00::1 fe80::1
fe80::1%eth0 fec0::1 ff02::1 ff0e::1 2001:db8::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:0:7f00:1:0:0:f7f7:f7f7
168.63.129.16 ::ffff:168.63.129.16 192.88.99.1 localhost nonsense 1.2.3
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_only_the_public_internet_can_be_reached(address):
    assert not is_public(address)
    assert not FetchPolicy().allows_address(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_within_reach(address):
    assert is_public(address)
    assert FetchPolicy().allows_address(address)


@given(st.ip_addresses(v=4))
def test_an_address_embedded_in_ipv6_is_checked_as_itself(address):
    number = int(address)
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}"):
        assert is_public(wrapped) == is_public(str(address))


def test_the_gateways_own_names_addresses_and_networks_are_refused():
    reach = FetchPolicy.of((), ("Gateway.Example.", "198.51.0.0/16", "8.8.8.8", "2606:4700::/32"))
    assert not reach.allows_host("gateway.example")
    assert reach.allows_host("other.example")
    assert not any(reach.allows_address(address) for address in ("8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1"))
    assert reach.allows_address("8.8.4.4")
    with pytest.raises(ValueError, match="not a valid network"):
        FetchPolicy.of((), ("10.0.0.0/99",))


def test_an_allow_list_excludes_all_other_hosts():
    reach = FetchPolicy.of(("images.example", "*.cdn.example"), ())
    assert [reach.allows_host(name) for name in ("images.example", "a.cdn.example", "a.b.cdn.example")] == [True] * 3
    assert not any(map(reach.allows_host, ("cdn.example", "x.images.example", "evilcdn.example", "8.8.8.8")))


def test_names_of_the_local_network_are_refused():
    assert not any(
        map(FetchPolicy().allows_host, ("a.localhost", "printer.local", "metadata.google.internal", "x.home.arpa"))
    )
