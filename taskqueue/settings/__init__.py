"""The environment variables, read once when a program starts, into frozen objects."""

from taskqueue.settings.settings import DAY_SECONDS, MIB, Settings, process_settings
from taskqueue.settings.variables import (
    ALL_BELOW,
    Environment,
    credentials,
    names,
    one_of,
    redis_url,
    text,
    url,
    whole_number,
)

__all__ = [
    "ALL_BELOW",
    "DAY_SECONDS",
    "MIB",
    "Environment",
    "Settings",
    "credentials",
    "names",
    "one_of",
    "process_settings",
    "redis_url",
    "text",
    "url",
    "whole_number",
]
