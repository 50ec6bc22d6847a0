import pytest

from visage.errors import ConfigurationError
from visage.images.addresses import AddressPolicy

# RFC 6890 and its followers; what stands behind each is in the IANA special-purpose registries.
NOT_PUBLIC = {
    "loopback": ["127.0.0.1", "127.8.9.10", "::1"],
    "private": ["10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "fc00::1", "fdab::1"],
    "link-local": ["169.254.0.1", "169.254.169.254", "fe80::1", "fe80::1%eth0"],
    "site-local": ["fec0::1"],
    "shared by carriers": ["100.64.0.1", "100.127.255.254"],
    "this host": ["0.0.0.0", "0.1.2.3", "::"],
    "multicast": ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"],
    "broadcast and reserved": ["255.255.255.255", "240.0.0.1"],
    "documentation and benchmarks": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "2001:db8::1"],
    "IPv4 inside IPv6": [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
    ],
    "IPv4 behind a translator": ["64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1"],
    "IPv4 behind a tunnel": ["2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "2001::1"],
}
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "223.255.255.254",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", [a for addresses in NOT_PUBLIC.values() for a in addresses])
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not AddressPolicy().allows("pictures.example", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert AddressPolicy().allows("pictures.example", address)


@pytest.mark.parametrize(
    ("listed", "address", "allowed"),
    [
        ("10.1.2.0/24", "10.1.2.3", True),
        ("10.1.2.0/24", "10.1.3.3", False),
        ("10.1.2.3/24", "10.1.2.99", True),  # host bits may be set, as people write them
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "fc12::1", False),
        ("fd00::5", "fd00::5", True),
        (" 127.0.0.0/8 ", "127.0.0.1", True),
        ("10.1.2.0/24", "8.8.8.8", True),
    ],
)
def test_a_listed_network_or_address_is_allowed_and_nothing_beside_it(listed: str, address: str, allowed: bool) -> None:
    assert AddressPolicy.parse([listed]).allows("pictures.example", address) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("nas.local", True),
        ("NAS.Local", True),
        ("nas.local.", True),
        ("evil.nas.local", False),
        ("nas.local.evil.example", False),
        ("10.0.0.5", False),
    ],
)
def test_a_listed_name_is_allowed_wherever_it_leads_and_no_other_name_is(host: str, allowed: bool) -> None:
    assert AddressPolicy.parse(["Nas.local"]).allows(host, "10.0.0.5") is allowed


def test_several_entries_add_up() -> None:
    policy = AddressPolicy.parse(["10.0.0.0/8", "nas.local", "fd00::1"])

    assert (
        policy.allows("x", "10.9.9.9") and policy.allows("nas.local", "192.168.1.1") and policy.allows("x", "fd00::1")
    )
    assert not policy.allows("x", "192.168.1.1")


@pytest.mark.parametrize(
    "bad", ["", "  ", "10.0.0.0/33", "300.1.1.1/8", "http://nas.local", "nas.local:80", "a b", "*.x"]
)
def test_an_entry_that_is_no_host_address_or_block_is_refused_in_one_line(bad: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AddressPolicy.parse(["10.0.0.1", bad])
    assert str(caught.value).startswith("URL_ALLOW: ") and repr(bad.strip()) in str(caught.value)
    assert "\n" not in str(caught.value)
