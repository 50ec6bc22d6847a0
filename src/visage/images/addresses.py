"""Which network addresses a picture may be fetched from: public ones, and those that the operator lists."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from visage.errors import ConfigurationError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# An IPv6 address that carries an IPv4 one reaches that one through a translator (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses are allowed; of the others, `networks` and whatever the names in `hosts` resolve to."""

    networks: tuple[_Network, ...] = ()
    hosts: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def parse(cls, allowed: Iterable[str]) -> "AddressPolicy":
        """From host names, addresses and CIDR blocks. Raises ConfigurationError for what is none of them."""
        networks, hosts = [], set()
        for item in (text.strip().lower() for text in allowed):
            try:
                networks.append(ipaddress.ip_network(item, strict=False))
            except ValueError:
                if not item or not all(c.isalnum() or c in "-._" for c in item) or "/" in item:
                    raise ConfigurationError(f"URL_ALLOW: {item!r} is no host name, address or CIDR block") from None
                hosts.add(item)
        return cls(tuple(networks), frozenset(hosts))

    def allows(self, host: str, address: str) -> bool:
        """Whether `host`, found at `address`, may be connected to."""
        if host.lower().rstrip(".") in self.hosts:
            return True
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
        return any(ip in network for network in self.networks) or all(_public(inner) for inner in _reached(ip))


def _public(ip: _Address) -> bool:
    site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local  # fec0::/10 counts as global
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not site_local


def _reached(ip: _Address) -> list[_Address]:
    """`ip` and the IPv4 addresses that it stands for."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip in _NAT64:
        return [ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)]
    inner: list[_Address] = [ip]
    if ip.sixtofour is not None:
        inner.append(ip.sixtofour)
    if ip.teredo is not None:
        inner.extend(ip.teredo)
    return inner
