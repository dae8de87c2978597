"""The settings that the web server and the worker share. A bad value stops the start; the message names it."""

import os
from dataclasses import dataclass
from functools import cache

from taskqueue.settings.api_keys import ApiKey, read_keys
from taskqueue.settings.browsers import read_hosts, read_origins
from taskqueue.settings.quota import Quota
from taskqueue.settings.variables import (
    Environment,
    credentials,
    names,
    one_of,
    redis_url,
    release,
    text,
    url,
    whole_number,
)

DAY_SECONDS = 86_400
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings that the web server and the worker share. The README's table describes each variable."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    queues: tuple[str, ...] = ("high", "default", "low")  # workers take jobs in this order
    result_ttl_seconds: int = DAY_SECONDS  # a client that polls overnight still finds its answer
    failure_ttl_seconds: int = 30 * DAY_SECONDS  # a failure outlives the holidays of whom it concerns
    max_payload_bytes: int = MIB
    max_result_bytes: int = MIB
    max_file_bytes: int = 16 * MIB
    file_ttl_seconds: int = 3 * DAY_SECONDS  # longer than a job waits, with all its attempts
    files_url: str | None = None  # None: files live in Redis
    dashboard_auth: tuple[str, str] | None = None  # user, password; None: no login
    api_keys: tuple[ApiKey, ...] = ()  # none: the API is open to everybody
    allowed_hosts: tuple[str, ...] = ()  # of an open API, besides loopback names and addresses
    cors_origins: tuple[str, ...] = ()  # of browser front-ends on other sites
    trust_forwarded_prefix: bool = False  # a proxy sets X-Forwarded-Prefix
    rate_limit: Quota | None = None  # for each caller; None: no limit
    body_timeout_seconds: int = 20  # for each 64 KiB of a request's body
    release: str | None = None  # of the application's code: shown with what ran it
    log_level: str = "INFO"
    log_format: str = "text"  # or json

    @classmethod
    def read(cls, env: Environment) -> "Settings":
        """Return the settings in `env`, usually `os.environ`. Raises `InvalidSetting`."""
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
            body_timeout_seconds=whole_number(env, "BODY_TIMEOUT_SECONDS", cls.body_timeout_seconds, "of seconds"),
            allowed_hosts=read_hosts(text(env, "ALLOWED_HOSTS", None)),
            cors_origins=read_origins(text(env, "CORS_ORIGINS", None)),
            trust_forwarded_prefix=one_of(env, "TRUST_FORWARDED_PREFIX", ("no", "yes"), "no") == "yes",
            rate_limit=Quota.read(text(env, "RATE_LIMIT", None)),
            release=release(env, "RELEASE"),
            log_level=one_of(env, "LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), cls.log_level),
            log_format=one_of(env, "LOG_FORMAT", ("text", "json"), cls.log_format),
        )


@cache
def process_settings() -> Settings:
    """Return the settings of this process, for code that RQ calls, to which nothing can pass them."""
    return Settings.read(os.environ)
