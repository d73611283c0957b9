"""Who a client is: the network that its address belongs to."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

__all__ = ["identify_client", "is_listed"]

IPV6_PREFIX = 64
"""One customer of a provider has at least so much of IPv6 to choose addresses from."""


@lru_cache(maxsize=4096)
def identify_client(address: str) -> str:
    """Identify a client for its limits: by an IPv4 address, or the /64 of an IPv6 one.

    Example:
        >>> identify_client("2001:db8::1:2"), identify_client("::ffff:192.0.2.7")
        ('2001:db8::/64', '192.0.2.7')
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, IPV6_PREFIX), strict=False))


def is_listed(address: str, entries: Sequence[str]) -> bool:
    """Tell whether an address is among addresses and networks; "*" stands for all.

    Example:
        >>> is_listed("10.1.2.3", ["10.0.0.0/8"]), is_listed("10.1.2.3", ["10.1.2.4"])
        (True, False)
    """
    if "*" in entries or address in entries:
        return True
    try:
        parsed = ip_address(address.partition("%")[0])
        return any(parsed in ip_network(entry, strict=False) for entry in entries if "/" in entry)
    except ValueError:
        return False
