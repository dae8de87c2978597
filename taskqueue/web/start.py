"""Makes the application in each process of gunicorn."""

import logging
import os
import sys
from collections.abc import Callable

from flask import Flask

from taskqueue.errors import InvalidJobType, InvalidSetting
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.telemetry import log

GUNICORN_BOOT_ERROR = 3  # an exit code after which gunicorn does not start the process again (gunicorn.arbiter)


def start(make: Callable[[Settings, JobTypes], Flask]) -> Flask:
    """Return what `make` makes from the settings and the job types. A bad one ends the process, with a message."""
    try:
        settings = Settings.read(os.environ)
        log.configure(settings.log_level, settings.log_format)  # gunicorn's own is from before a reload
        return make(settings, discover(*settings.jobs, queues=settings.queues))
    except (InvalidJobType, InvalidSetting) as error:
        logging.getLogger(__name__).critical("%s", error)
        sys.exit(GUNICORN_BOOT_ERROR)
