"""Who a client is while it has no key: the network of its address."""

from ipaddress import IPv6Address, ip_address, ip_network

from flask import request

IPV6_PREFIX = 64  # one customer has at least so many addresses


def client_network() -> str:
    """Return the client's address, of IPv6 its /64 network; behind a proxy that is the proxy's."""
    try:
        address = ip_address(request.remote_addr or "::")
    except ValueError:  # of a Unix socket
        return "local"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(ip_network((address, IPV6_PREFIX), strict=False))
        address = address.ipv4_mapped  # on a socket that takes both, every IPv4 address is below ::/64
    return str(address)
