"""The environment variables, read once when a program starts, into frozen objects."""

from taskqueue.settings.process import connect, process_connection, process_settings, process_target
from taskqueue.settings.settings import DAY_SECONDS, MIB, Settings
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
    "connect",
    "credentials",
    "names",
    "one_of",
    "process_connection",
    "process_settings",
    "process_target",
    "redis_url",
    "text",
    "url",
    "whole_number",
]
