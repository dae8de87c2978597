"""Readers of one environment variable each. A job type reads its own settings with them: see jobs/email.py.

Each raises `InvalidSetting`, which names the variable and says what it must be.
"""

from collections.abc import Mapping
from typing import overload
from urllib.parse import urlsplit

from taskqueue.errors import InvalidSetting
from taskqueue.store.sentinel import SCHEMES as SENTINEL_SCHEMES

Environment = Mapping[str, str]


@overload
def text(env: Environment, name: str, default: str) -> str: ...
@overload
def text(env: Environment, name: str, default: None) -> str | None: ...
def text(env: Environment, name: str, default: str | None) -> str | None:
    """The variable, without white space around it; the default where it is missing or empty."""
    return env.get(name, "").strip() or default


def whole_number(env: Environment, name: str, default: int, unit: str, *, minimum: int = 1) -> int:
    """A whole number, `minimum` or more. `unit` ends the message: "of seconds"."""
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
    """One of `choices`, in any case."""
    value = text(env, name, default)
    found = next((choice for choice in choices if choice.lower() == value.lower()), None)
    if found is None:
        raise InvalidSetting(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return found


def names(env: Environment, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Names with commas between them: "high,default,low"."""
    value = text(env, name, None)
    if value is None:
        return default
    found = tuple(part.strip() for part in value.split(","))
    if not all(part.replace("-", "").replace("_", "").isalnum() for part in found):
        raise InvalidSetting(f"{name} must be names with commas between them, such as high,low; got {value!r}")
    if len(set(found)) < len(found):
        raise InvalidSetting(f"{name} names one twice: {value!r}")
    return found


@overload
def url(env: Environment, name: str, schemes: tuple[str, ...], default: str) -> str: ...
@overload
def url(env: Environment, name: str, schemes: tuple[str, ...], default: None) -> str | None: ...
def url(env: Environment, name: str, schemes: tuple[str, ...], default: str | None) -> str | None:
    """A URL with one of `schemes`. Its message does not repeat the value, which may hold a password."""
    value = text(env, name, default)
    if value is None or value == default:
        return default
    try:
        parts = urlsplit(value)
        for host in parts.netloc.rpartition("@")[2].split(","):  # of Sentinel there are several
            urlsplit(f"//{host}").port  # noqa: B018  it raises for a port that is no number
    except ValueError:  # its words may repeat a part of the password
        raise InvalidSetting(
            f"{name} is not a URL; in a user or password write / ? # @ as %2F %3F %23 %40"
        ) from None
    if parts.scheme not in schemes:
        raise InvalidSetting(
            f"{name} must start with {' or '.join(f'{scheme}://' for scheme in schemes)},"
            f" got {parts.scheme + '://…' if parts.scheme else 'no scheme'}"
        )
    return value


def redis_url(env: Environment, name: str, default: str) -> str:
    """Where Redis is: a URL of redis-py, or of Sentinel (taskqueue/sentinel.py)."""
    value = url(env, name, ("redis", "rediss", "unix", *SENTINEL_SCHEMES), default)
    if urlsplit(value).scheme in SENTINEL_SCHEMES and not urlsplit(value).path.strip("/"):
        raise InvalidSetting(
            f"{name} must name the master that Sentinel watches: redis+sentinel://host:26379/mymaster"
        )
    return value


def credentials(env: Environment, name: str) -> tuple[str, str] | None:
    """`user:password`. Its message does not repeat the value."""
    value = text(env, name, None)
    if value is None:
        return None
    user, colon, password = value.partition(":")
    if not (user and colon and password):
        raise InvalidSetting(f"{name} must be user:password")
    return user, password
