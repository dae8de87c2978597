"""ALLOWED_HOSTS and CORS_ORIGINS: under which names browsers may call, and from which other sites."""

import re
from urllib.parse import urlsplit

from taskqueue.errors import InvalidSetting

HOST = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")
ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*)(:[0-9]{1,5})?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def read_hosts(value: str | None) -> tuple[str, ...]:
    """Return the host names of ALLOWED_HOSTS, in lower case. Raises `InvalidSetting`."""
    hosts = _parts(value)
    wrong = next((host for host in hosts if not HOST.fullmatch(host)), None)
    if wrong is not None:
        raise InvalidSetting(
            "ALLOWED_HOSTS must be host names without ports and with commas between them, such as"
            f" tasks.example.com,*.internal, or * for any; got {wrong!r}"
        )
    return hosts


def read_origins(value: str | None) -> tuple[str, ...]:
    """Return the origins of CORS_ORIGINS as browsers write them. Raises `InvalidSetting`."""
    origins = _parts(value)
    wrong = next((origin for origin in origins if not ORIGIN.fullmatch(origin)), None)
    if wrong is not None:
        raise InvalidSetting(
            "CORS_ORIGINS must be origins with commas between them, such as"
            f" https://app.example.com,http://localhost:3000; got {wrong!r}"
        )
    return tuple(origin.removesuffix(DEFAULT_PORTS[urlsplit(origin).scheme]) for origin in origins)


def _parts(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in (value or "").split(",") if part.strip())
