"""HTTP requests to URLs that a client chose: only to public addresses, unless OUTBOUND_ALLOW names more.

This protects only requests that go through `get` and `post` below, as `sync` and callbacks do. Nothing here stops
other code of a job from opening a connection of its own. How a request is protected:

1. This module resolves the URL's host, and checks every address in the answer.
2. It connects to a checked address, not to the name, so that a second DNS answer cannot differ (DNS rebinding).
   TLS still asks for a certificate of the name.
3. It follows a redirect itself, beginning again with step 1.

A host that has just failed another task is not asked: see run/breaker.py.
"""

import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from taskqueue.errors import AddressRefused, InvalidSetting, PermanentFailure
from taskqueue.run.breaker import note_failure, reaching
from taskqueue.settings import Environment, text
from taskqueue.store.hosts import Host, HostKind

CONNECT_TIMEOUT_SECONDS = 5.0
READ_TIMEOUT_SECONDS = 30.0  # without a byte
POST_TIMEOUT_SECONDS = 10.0  # until the answer begins
MAX_REDIRECTS = 5
MAX_RETRY_AFTER_SECONDS = 8 * 3600  # as long as the longest pause between two callbacks
CHUNK_BYTES = 64 * 1024
PORTS = {"http": 80, "https": 443}
CREDENTIALS = ("authorization", "cookie")  # not sent on when a redirect leads to another host

log = logging.getLogger(__name__)
_is_sending = ContextVar("_is_sending", default=False)
# urllib3 logs the path and the query of each request (DEBUG), and either may contain a secret: see `_send`.
logging.getLogger("urllib3.connectionpool").addFilter(lambda record: not _is_sending.get())

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], list[str]]

# Python counts (parts of) these as global. No network of the internet carries them.
NOT_PUBLIC: tuple[Network, ...] = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # RFC 6890: protocol assignments
    ipaddress.IPv6Network("fec0::/10"),  # RFC 3879: once the private addresses of a site
)
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


@dataclass(frozen=True, kw_only=True)
class OutboundSettings:
    """The hosts and networks that may be reached besides public addresses."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def read(cls, env: Environment) -> Self:
        """Read OUTBOUND_ALLOW: host names, addresses and networks, with commas. Raises `InvalidSetting`."""
        hosts, networks = set[str](), list[Network]()
        for part in text(env, "OUTBOUND_ALLOW", "").split(","):
            name = part.strip().lower()
            if not name:
                continue
            try:
                networks.append(ipaddress.ip_network(name, strict=False))
            except ValueError:
                if not all(character.isalnum() or character in ".-" for character in name):
                    raise InvalidSetting(
                        f"OUTBOUND_ALLOW must be host names, addresses and networks, such as"
                        f" feeds.internal,10.1.0.0/16; got {name!r}"
                    ) from None
                hosts.add(name.rstrip("."))
        return cls(hosts=frozenset(hosts), networks=tuple(networks))

    def allows(self, host: str, address: Address) -> bool:
        """Return whether `host` may be reached at `address`, to which its name was resolved."""
        inner = _inner(address)
        return (
            host in self.hosts
            or any(each in network for each in (address, inner) for network in self.networks)
            or (is_public(address) and is_public(inner))
        )


def is_public(address: Address) -> bool:
    """Return whether everybody on the internet can reach an address (the IANA special-purpose registries)."""
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, if any; otherwise the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


class Response:
    """An HTTP answer whose body is read in chunks, with a limit of bytes and of time."""

    def __init__(
        self, url: str, host: Host, raw: urllib3.BaseHTTPResponse, limit_bytes: int, deadline: float
    ) -> None:
        self.url = url
        self._host = host
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw
        self._limit_bytes = limit_bytes
        self._deadline = deadline

    def chunks(self) -> Iterator[bytes]:
        """Yield the body, decompressed.

        Raises `PermanentFailure` for too many bytes, `TimeoutError` after the deadline, `ConnectionError`.
        """
        size = 0
        while chunk := self._read():
            size += len(chunk)
            if size > self._limit_bytes:
                raise PermanentFailure(
                    f"The answer of {_shown(self.url)} has more than {self._limit_bytes:,} bytes."
                )
            if time.monotonic() > self._deadline:
                raise TimeoutError(f"{_shown(self.url)} took too long to answer")
            yield chunk

    def _read(self) -> bytes:
        began = time.monotonic()
        try:
            # read1 returns what has arrived: a server that sends byte by byte cannot delay us past the deadline.
            return self._raw.read1(CHUNK_BYTES, decode_content=True)
        except HTTPError as error:
            note_failure(self._host, error, time.monotonic() - began)
            raise ConnectionError(f"The answer of {_shown(self.url)} broke off: {error}") from error


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host name. Raises `ConnectionError`: a name server may know it later."""
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise ConnectionError(f"{host} cannot be resolved: {error}") from error


@contextmanager
def get(
    url: str,
    *,
    settings: OutboundSettings,
    limit_bytes: int,
    limit_seconds: float,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve = resolve,
    kind: HostKind = "other",
) -> Iterator[Response]:
    """GET a URL, follow redirects, and give the answer, whatever its status, to a `with` block.

    `kind` says what the host is, for messages and metrics. Raises `AddressRefused` and `PermanentFailure` if
    another attempt would not help; `ConnectionError` and `TimeoutError` if it may; `HostPaused` if the host has
    just failed another task. It uses no proxy of the environment: the proxy would resolve the host.
    """
    deadline = time.monotonic() + limit_seconds
    sent = {"Accept-Encoding": "gzip", "User-Agent": "taskqueue"} | dict(headers or {})
    for _ in range(MAX_REDIRECTS + 1):
        target = _target(url)
        host = Host(kind, target.host, target.port)
        with reaching(target.host, target.port, kind):
            pool = _pool(target, settings, resolve)
            raw = _send(pool, "GET", url, target, headers=sent | {"Host": target.netloc.rpartition("@")[2]})
        try:
            location = raw.headers.get("Location") if raw.status in (301, 302, 303, 307, 308) else None
            if location is None:
                yield Response(url, host, raw, limit_bytes, deadline)
                return
        finally:
            raw.close()
            pool.close()
        followed = urljoin(url, location)
        if url.startswith("https:") and not followed.startswith("https:"):
            raise PermanentFailure(f"{_shown(url)} leads from https to {_shown(followed)}.")
        if urlsplit(followed).netloc != target.netloc:
            sent = {name: value for name, value in sent.items() if name.lower() not in CREDENTIALS}
        url = followed
        if time.monotonic() > deadline:
            raise TimeoutError(f"{_shown(url)} took too long to answer")
    raise PermanentFailure(f"{_shown(url)}: more than {MAX_REDIRECTS} redirects.")


class Status(int):
    """The status of an answer, and its Retry-After."""

    retry_after: float  # seconds for which the server wants to be left alone; 0: it says nothing of that


def post(
    url: str,
    body: bytes,
    *,
    settings: OutboundSettings,
    headers: Mapping[str, str],
    resolve: Resolve = resolve,
    kind: HostKind = "other",
) -> Status:
    """POST a body, and return the status of the answer. It reads no body, and follows no redirect.

    Raises what `get` raises.
    """
    target = _target(url)
    sent = {"User-Agent": "taskqueue", **headers, "Host": target.netloc}
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=POST_TIMEOUT_SECONDS)
    with reaching(target.host, target.port, kind), _pool(target, settings, resolve) as pool:
        raw = _send(pool, "POST", url, target, body=body, headers=sent, timeout=timeout)
        raw.close()
    status = Status(raw.status)
    status.retry_after = retry_after(raw.headers)
    return status


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110, 10.2.3), at most 8 hours; 0 without one.

    The header has a number of seconds, or a date. What is neither counts as no header.
    """
    value = headers.get("Retry-After", "").strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = float(value)
        else:
            at = parsedate_to_datetime(value)
            seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


class Target(NamedTuple):
    """The parts of a URL that a request needs."""

    scheme: str
    netloc: str  # as the URL has it
    host: str
    port: int
    path: str  # with the query


def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORTS.get(parts.scheme, 0)
        host = host.encode("idna").decode() if not host.isascii() else host
    except ValueError:  # its message may repeat a part of the URL
        raise PermanentFailure(f"{_shown(url)} is not a URL: its host or its port is not valid.") from None
    if parts.scheme not in PORTS or not host:
        raise PermanentFailure(f"{_shown(url)} is not a URL that starts with http:// or https://.")
    if parts.username is not None:
        raise PermanentFailure("A URL with a user in it is not fetched, because logs would show it.")
    return Target(parts.scheme, parts.netloc, host, port, urlunsplit(("", "", parts.path or "/", parts.query, "")))


def _pool(target: Target, settings: OutboundSettings, resolve: Resolve) -> urllib3.HTTPConnectionPool:
    """Return a connection pool to one checked address of a host."""
    host, port = target.host, target.port
    addresses = resolve(host, port)
    for text_form in addresses:
        address = ipaddress.ip_address(text_form.partition("%")[0])
        if not settings.allows(host, address):
            where = host if host == str(address) else f"{host} (at {address})"
            raise AddressRefused(f"{where} is not a public address. To allow it, name {host} in OUTBOUND_ALLOW.")
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    if target.scheme == "https":
        return urllib3.HTTPSConnectionPool(
            addresses[0], port, timeout=timeout, maxsize=1, server_hostname=host, assert_hostname=host
        )
    return urllib3.HTTPConnectionPool(addresses[0], port, timeout=timeout, maxsize=1)


def _send(
    pool: urllib3.HTTPConnectionPool, method: str, url: str, target: Target, **options: Any
) -> urllib3.BaseHTTPResponse:
    """Send a request, and log it instead of urllib3. Raises `PermanentFailure`, `ConnectionError`."""
    token = _is_sending.set(True)
    try:
        raw = pool.urlopen(method, target.path, redirect=False, retries=False, preload_content=False, **options)
    except LocationParseError:  # its message repeats the address
        pool.close()
        raise PermanentFailure(f"{_shown(url)} is not a URL.") from None
    except HTTPError as error:
        pool.close()
        raise ConnectionError(f"{_shown(url)} cannot be reached: {error}") from error
    finally:
        _is_sending.reset(token)
    log.debug("%s %s: %d", method, _shown(url), raw.status)
    return raw


def _shown(url: str) -> str:
    """Return a URL's scheme, host and port for a message: its user, path and query may each contain a secret."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "The URL"
    host, *more = re.split(r"[/?#\\]", rest, maxsplit=1)
    return f"{scheme}://{host.rpartition('@')[2]}{'/…' if more and more[0] else ''}"[:200]
