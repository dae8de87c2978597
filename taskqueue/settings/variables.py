"""Functions that read one environment variable each. Job types read their own settings with them: jobs/email.py.

Each raises `InvalidSetting`, which names the variable and says what it must be.
"""

import re
from collections.abc import Mapping
from typing import overload
from urllib.parse import urlsplit

from taskqueue.errors import InvalidSetting
from taskqueue.store.sentinel import SCHEMES as SENTINEL_SCHEMES
from taskqueue.store.url import check_url

Environment = Mapping[str, str]
RELEASE = re.compile(r"[A-Za-z0-9._+/:@-]{1,64}")


@overload
def text(env: Environment, name: str, default: str) -> str: ...
@overload
def text(env: Environment, name: str, default: None) -> str | None: ...
def text(env: Environment, name: str, default: str | None) -> str | None:
    """Return a variable without white space around it; the default if it is missing or empty."""
    return env.get(name, "").strip() or default


def whole_number(env: Environment, name: str, default: int, unit: str, *, minimum: int = 1) -> int:
    """Return a whole number of at least `minimum`. The error message names the `unit`: "of seconds"."""
    value = text(env, name, None)
    if value is None:
        return default
    try:
        number = int(value)
    except ValueError:
        raise InvalidSetting(f"{name} must be a whole number {unit}, got {value!r}") from None
    if number < minimum:
        raise InvalidSetting(f"{name} must be {minimum} or more, got {number}")
    return number


def one_of(env: Environment, name: str, choices: tuple[str, ...], default: str) -> str:
    """Return one of `choices`; upper and lower case are the same."""
    value = text(env, name, default)
    match = next((choice for choice in choices if choice.lower() == value.lower()), None)
    if match is None:
        raise InvalidSetting(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return match


def names(env: Environment, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in a list with commas: "high,default,low"."""
    value = text(env, name, None)
    if value is None:
        return default
    listed = tuple(part.strip() for part in value.split(","))
    if not all(part.replace("-", "").replace("_", "").isalnum() for part in listed):
        raise InvalidSetting(f"{name} must be names with commas between them, such as high,low; got {value!r}")
    if len(set(listed)) < len(listed):
        raise InvalidSetting(f"{name} names one twice: {value!r}")
    return listed


@overload
def url(env: Environment, name: str, schemes: tuple[str, ...], default: str) -> str: ...
@overload
def url(env: Environment, name: str, schemes: tuple[str, ...], default: None) -> str | None: ...
def url(env: Environment, name: str, schemes: tuple[str, ...], default: str | None) -> str | None:
    """Return a URL with one of `schemes`. The error message does not repeat it: it may contain a password."""
    value = text(env, name, default)
    if value is None or value == default:
        return default
    try:
        parts = urlsplit(value)
        for host in parts.netloc.rpartition("@")[2].split(","):  # a URL of Sentinel has several hosts
            urlsplit(f"//{host}").port  # noqa: B018  it raises ValueError if the port is not a number
    except ValueError:  # its message may repeat a part of the password
        raise InvalidSetting(
            f"{name} is not a URL; in a user or password write / ? # @ as %2F %3F %23 %40"
        ) from None
    if parts.scheme not in schemes:
        raise InvalidSetting(
            f"{name} must start with {' or '.join(f'{scheme}://' for scheme in schemes)},"
            f" got {parts.scheme + '://…' if parts.scheme else 'no scheme'}"
        )
    return value


def release(env: Environment, name: str) -> str | None:
    """Return the name of a release: "v42", "2026-11-25.3", the hash of a commit."""
    value = text(env, name, None)
    if value is not None and not RELEASE.fullmatch(value):
        raise InvalidSetting(f"{name} must be at most 64 letters, digits and . _ + / : @ -, got {value!r}")
    return value


def redis_url(env: Environment, name: str, default: str) -> str:
    """Return the URL of Redis: one of redis-py, or one of Sentinel (store/sentinel.py)."""
    value = url(env, name, ("redis", "rediss", "unix", *SENTINEL_SCHEMES), default)
    if urlsplit(value).scheme in SENTINEL_SCHEMES and not urlsplit(value).path.strip("/"):
        raise InvalidSetting(
            f"{name} must name the master that Sentinel watches: redis+sentinel://host:26379/mymaster"
        )
    try:
        check_url(value)
    except ValueError as error:
        raise InvalidSetting(f"{name}: {error}") from None
    return value


def credentials(env: Environment, name: str) -> tuple[str, str] | None:
    """Return the user and the password in `user:password`. The error message does not repeat them."""
    value = text(env, name, None)
    if value is None:
        return None
    user, colon, password = value.partition(":")
    if not (user and colon and password):
        raise InvalidSetting(f"{name} must be user:password")
    return user, password
