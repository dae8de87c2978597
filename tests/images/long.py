"""Job types that the images get for their tests."""

import os
import subprocess
import time

from taskqueue import job


@job("long", attempts=3, timeout=60)
def long(seconds: float) -> str:
    """Sleep, then return the name of the image's code version."""
    time.sleep(seconds)
    return os.environ["CODE"]


@job("orphan")
def orphan() -> None:
    """Leave a process behind that ends a little later."""
    subprocess.run(["sh", "-c", "setsid sleep 0.2 &"], check=True)
