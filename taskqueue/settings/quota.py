"""RATE_LIMIT: how often each caller may call the API."""

import re
from dataclasses import dataclass
from typing import Self

from taskqueue.errors import InvalidSetting

UNITS = {"s": 1, "m": 60, "h": 3600}
FORM = re.compile(r"([1-9][0-9]{0,8})/([smh])")


@dataclass(frozen=True)
class Quota:
    """A number of calls in a number of seconds."""

    calls: int
    window_seconds: int

    @classmethod
    def read(cls, value: str | None) -> Self | None:
        """Read RATE_LIMIT, such as "600/m"; None: no limit. Raises `InvalidSetting`."""
        if value is None:
            return None
        match = FORM.fullmatch(value)
        if not match:
            raise InvalidSetting(
                f"RATE_LIMIT must be a number of requests in s, m or h, such as 600/m; got {value!r}"
            )
        return cls(int(match[1]), UNITS[match[2]])
