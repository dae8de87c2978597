"""RATE_LIMIT: how often each caller of the API may call."""

import re
from dataclasses import dataclass
from typing import Self

from taskqueue.errors import InvalidSetting

UNITS = {"s": 1, "m": 60, "h": 3600}
FORM = re.compile(r"([1-9][0-9]{0,8})/([smh])")


@dataclass(frozen=True)
class Quota:
    """So many calls in so many seconds."""

    calls: int
    window_seconds: int

    @classmethod
    def read(cls, value: str | None) -> Self | None:
        """RATE_LIMIT: "600/m". Raises `InvalidSetting`."""
        if value is None:
            return None
        found = FORM.fullmatch(value)
        if not found:
            raise InvalidSetting(
                f"RATE_LIMIT must be a number of requests in s, m or h, such as 600/m; got {value!r}"
            )
        return cls(int(found[1]), UNITS[found[2]])
