"""Checks the URL of Redis before anything connects: redis-py itself fails late, or not at all."""

import math
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from redis.connection import parse_url
from redis.exceptions import RedisError

from taskqueue.store.sentinel import SCHEMES as SENTINEL_SCHEMES

SECONDS = {"socket_timeout", "socket_connect_timeout"}
COUNTS = {
    "db": 0,
    "health_check_interval": 0,
    "max_connections": 1,
    "socket_read_size": 1,
}  # and the least of each
TEXTS = {"client_name", "lib_name", "lib_version", "username", "password"}
SWITCHES = {"socket_keepalive", "retry_on_timeout"}
TLS_FILES = {"ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"}
TLS = TLS_FILES | {
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_password",
    "ssl_min_version",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",  # for an authority that Python 3.13 refuses
}
FOR_SENTINEL = {"sentinel_username", "sentinel_password"}
SET_HERE = {"decode_responses", "encoding", "encoding_errors", "protocol", "legacy_responses"}


def check_url(url: str) -> None:
    """Raise ValueError, with a sentence that repeats no value, for an option or a database that cannot be used."""
    parts = urlsplit(url)
    has_sentinel = parts.scheme in SENTINEL_SCHEMES
    tls = TLS if parts.scheme.startswith("rediss") else set()
    known = SECONDS | COUNTS.keys() | TEXTS | SWITCHES | tls | (FOR_SENTINEL if has_sentinel else set())
    path = parts.path.strip("/")
    database = "" if parts.scheme == "unix" else path.partition("/")[2] if has_sentinel else path
    if database and not re.fullmatch("[0-9]+", database):
        raise ValueError("the database must be a number, as in redis://localhost:6379/0")
    for name, value in parse_qsl(parts.query):
        _check_option(name, value, known)
    if parts.query and not has_sentinel:
        try:
            options = dict(parse_url(url))
            kind = options.pop("connection_class", None)
            if kind:
                kind(**{name: value for name, value in options.items() if name != "max_connections"})
        except (TypeError, ValueError, RedisError) as error:
            raise ValueError(f"one of its options cannot be used: {error}") from error


def _check_option(name: str, value: str, known: set[str]) -> None:
    if name in SET_HERE:
        raise ValueError(f"the option {name!r} is set by the task queue itself; take it out")
    if name not in known:
        # What is no name may be a part of a password with a `?` in it.
        shown = repr(name) if re.fullmatch("[a-z_]{2,40}", name) else "of this name"
        raise ValueError(f"there is no option {shown}; take it out. The options are {', '.join(sorted(known))}")
    if name in SECONDS and not _is_positive(value):
        raise ValueError(f"the option {name!r} must be a number of seconds above 0")
    if name in COUNTS and not (re.fullmatch("[0-9]+", value) and int(value) >= COUNTS[name]):
        raise ValueError(f"the option {name!r} must be a whole number from {COUNTS[name]} on")
    if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
        raise ValueError("the option 'ssl_cert_reqs' must be none, optional or required")
    if name in TLS_FILES and not Path(value).exists():
        raise ValueError(f"the option {name!r} names a file that does not exist")


def _is_positive(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False
