"""The Redis that `taskqueue run` has started in this folder: other programs there find it without a setting."""

import re
from pathlib import Path

from taskqueue.settings.variables import Environment, text

FILE = Path("var/redis.url")  # written by `taskqueue run` while its Redis runs
FORM = re.compile(r"redis://127\.0\.0\.1:[0-9]{1,5}/0")


def local_redis_url() -> str | None:
    """Return the URL of the Redis that `taskqueue run` has started in this folder; None if there is none."""
    try:
        url = FILE.read_text().strip()
    except (OSError, ValueError):
        return None
    return url if FORM.fullmatch(url) else None


def redis_source(env: Environment) -> str:
    """Return where the URL of Redis comes from, for people."""
    if text(env, "TASK_QUEUE_URL", None):
        return "TASK_QUEUE_URL"
    if local_redis_url():
        return f"{FILE}: `taskqueue run` has started it"
    return "the default: TASK_QUEUE_URL is not set"
