"""The smallest job type: it logs the names of its fields and returns them. Copy this file to write your own."""

import logging
from typing import Any

from taskqueue import job

log = logging.getLogger(__name__)


@job("generic")
def generic(**payload: Any) -> dict[str, Any]:
    """Take any JSON object, log the names of its fields, and return it."""
    log.info("Got %s", ", ".join(sorted(payload)) or "no fields")
    return payload
