"""The environment, read once into one frozen object. A bad value stops the start, by name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import overload
from urllib.parse import urlsplit

from taskqueue.errors import InvalidSetting
from taskqueue.keys import ApiKey, read_keys
from taskqueue.quota import Quota
from taskqueue.sentinel import SCHEMES as SENTINEL_SCHEMES

DAY_SECONDS = 86_400
MIB = 1024 * 1024

Environment = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the web server and the worker share. The README's table describes each variable."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    queues: tuple[str, ...] = ("high", "default", "low")  # in the order in which they are worked
    result_ttl_seconds: int = DAY_SECONDS  # a client that polls overnight still finds its answer
    failure_ttl_seconds: int = 30 * DAY_SECONDS  # a failure outlives the holidays of who must look at it
    max_payload_bytes: int = MIB
    max_result_bytes: int = MIB
    max_file_bytes: int = 16 * MIB
    file_ttl_seconds: int = 3 * DAY_SECONDS  # longer than a job waits and is tried again
    files_url: str | None = None  # None: files live in Redis
    dashboard_auth: tuple[str, str] | None = None  # user, password; None: no login
    api_keys: tuple[ApiKey, ...] = ()  # none: the API is open to everybody
    rate_limit: Quota | None = None  # of each caller; None: no limit
    log_level: str = "INFO"
    log_format: str = "text"  # or json

    @classmethod
    def read(cls, env: Environment) -> "Settings":
        """The settings that `env` (usually `os.environ`) asks for. Raises `InvalidSetting`."""
        return cls(
            redis_url=redis_url(env, "TASK_QUEUE_URL", cls.redis_url),
            queues=names(env, "QUEUES", cls.queues),
            result_ttl_seconds=whole_number(env, "RESULT_TTL_SECONDS", cls.result_ttl_seconds, "of seconds"),
            failure_ttl_seconds=whole_number(env, "FAILURE_TTL_SECONDS", cls.failure_ttl_seconds, "of seconds"),
            max_payload_bytes=whole_number(env, "MAX_PAYLOAD_BYTES", cls.max_payload_bytes, "of bytes"),
            max_result_bytes=whole_number(env, "MAX_RESULT_BYTES", cls.max_result_bytes, "of bytes"),
            max_file_bytes=whole_number(env, "MAX_FILE_BYTES", cls.max_file_bytes, "of bytes"),
            file_ttl_seconds=whole_number(env, "FILE_TTL_SECONDS", cls.file_ttl_seconds, "of seconds"),
            files_url=url(env, "FILES_URL", ("s3", "gs", "az", "file"), None),
            dashboard_auth=credentials(env, "DASHBOARD_AUTH"),
            api_keys=read_keys(text(env, "API_KEYS", None)),
            rate_limit=Quota.read(text(env, "RATE_LIMIT", None)),
            log_level=one_of(env, "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), cls.log_level),
            log_format=one_of(env, "LOG_FORMAT", ("text", "json"), cls.log_format),
        )


@cache
def process_settings() -> Settings:
    """This process's settings, for code that RQ calls and nobody can pass them to."""
    return Settings.read(os.environ)


# Readers of one variable each. A job type reads its own settings with them: see jobs/email.py.


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
