"""Connects to Redis behind Sentinel. Each new connection asks the sentinels which server is the master.

    redis+sentinel://user:password@sentinel-1:26379,sentinel-2:26379/mymaster/0
    rediss+sentinel://…      with TLS, to the sentinels too

User, password and the options after `?` are for the Redis servers. If the sentinels need their own, they are the
options `sentinel_username` and `sentinel_password`.
"""

from typing import Any
from urllib.parse import urlsplit

from redis.connection import parse_url
from redis.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)

SCHEMES = ("redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379


def sentinel_pool(url: str, **options: Any) -> SentinelConnectionPool:
    """Return connections to the server that is the master. It opens none yet."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    scheme = parts.scheme.removesuffix("+sentinel")
    server: dict[str, Any] = dict(parse_url(f"{scheme}://{login}{at}master/{database}?{parts.query}"))
    del server["host"]
    of_sentinels = {
        name: server.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in server
    }
    tls = scheme == "rediss"
    server["connection_class"] = SentinelManagedSSLConnection if tls else SentinelManagedConnection
    if tls:
        of_sentinels |= {"ssl": True} | {name: value for name, value in server.items() if name.startswith("ssl_")}
    limits = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout") if name in options}
    sentinel = Sentinel([_address(host) for host in hosts.split(",")], sentinel_kwargs=limits | of_sentinels)
    return SentinelConnectionPool(service, sentinel, **server | options)


def same_master(pool: SentinelConnectionPool, **options: Any) -> SentinelConnectionPool:
    """Return connections to the master of another pool, with other options."""
    known = {name: value for name, value in pool.connection_kwargs.items() if name != "connection_pool"}
    return SentinelConnectionPool(
        pool.service_name, pool.sentinel_manager, connection_class=pool.connection_class, **known | options
    )


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port or SENTINEL_PORT
