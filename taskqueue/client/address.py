"""The base URL and the key of a client, checked before anything is sent."""

import ssl
from collections.abc import Mapping

import httpx

from taskqueue.errors import InvalidSetting


def checked_url(url: str, name: str = "url") -> str:
    """Return a base URL without a slash at its end. Raises `InvalidSetting`, which calls the URL `name`."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.userinfo:
        key = "TASK_QUEUE_KEY" if name != "url" else "key"
        raise InvalidSetting(f"{name} takes no user and password: put the key in {key}.")
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise InvalidSetting(f"{name} must be a URL such as https://jobs.example.com; got {url!r}")
    if parts.port is not None and not 0 < parts.port < 65_536:
        raise InvalidSetting(f"{name} must be a URL such as https://jobs.example.com; got {url!r}")
    return url.rstrip("/")


def checked_key(key: str, name: str = "key") -> str:
    """Return a key. Raises `InvalidSetting`, which calls the key `name` and does not repeat it."""
    if not (key.isascii() and key.isprintable() and key and " " not in key):
        raise InvalidSetting(f"{name} is not a key: it must be one word, as `python -m taskqueue key` printed it.")
    return key


def headers(key: str | None) -> Mapping[str, str]:
    """Return the headers of each request. Raises `InvalidSetting`."""
    shared = {"Accept": "application/json", "User-Agent": "taskqueue-client"}
    return shared | ({"Authorization": f"Bearer {checked_key(key)}"} if key else {})


def trust(verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
    """Return what decides which certificates are trusted: by default the authorities of the system.

    httpx would take those of certifi, which do not know an organization's own authority.
    """
    return ssl.create_default_context() if verify is True else verify
