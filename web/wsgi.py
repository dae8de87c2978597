"""The application for gunicorn: `gunicorn -c web/gunicorn_conf.py web.wsgi:app`."""

import logging
import os
import sys

from taskqueue.errors import InvalidJobType, InvalidSetting
from taskqueue.jobtypes.registry import discover
from taskqueue.settings import Settings
from taskqueue.telemetry import log
from web import create_app

GUNICORN_BOOT_ERROR = 3  # an exit code after which gunicorn does not start the process again (gunicorn.arbiter)

try:
    settings = Settings.read(os.environ)
    log.configure(settings.log_level, settings.log_format)  # gunicorn's own configuration is from before a reload
    app = create_app(settings, discover(queues=settings.queues))
except (InvalidJobType, InvalidSetting) as error:
    logging.getLogger(__name__).critical("%s", error)
    sys.exit(GUNICORN_BOOT_ERROR)
