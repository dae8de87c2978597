"""A job type that the images get for their tests: it takes its time, and says which image it ran in."""

import os
import time

from taskqueue import job


@job("long", attempts=3, timeout=60)
def long(seconds: float) -> str:
    """Take so long; return the name of the image's code."""
    time.sleep(seconds)
    return os.environ["CODE"]
