"""The benchmarks' jobs: one does nothing, one reports when it began, and two wait."""

import asyncio
import time
from typing import Any

from drive import WAIT_SECONDS, ended, started

from taskqueue import job


@job("noop")
def noop(**payload: Any) -> None:
    """Do nothing, whatever the payload."""


@job("stamp")
def stamp(at: float) -> None:
    """Report how long after `at` (seconds since 1970) the job began."""
    started(at)


@job("wait")
async def wait() -> None:
    """Wait in the event loop."""
    await asyncio.sleep(WAIT_SECONDS)
    ended()


@job("nap", io_bound=True)
def nap() -> None:
    """Wait in a thread."""
    time.sleep(WAIT_SECONDS)
    ended()
