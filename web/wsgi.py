"""What gunicorn serves: `gunicorn -c python:web.gunicorn_conf web.wsgi:app`."""

import logging
import os
import sys

from taskqueue.errors import InvalidJobType
from taskqueue.job_types import discover
from taskqueue.settings import Settings
from web import create_app

GUNICORN_BOOT_ERROR = 3  # the exit code of a process that gunicorn does not start again (gunicorn.arbiter)

settings = Settings.read(os.environ)
try:
    job_types = discover(queues=settings.queues)
except InvalidJobType as error:
    logging.getLogger(__name__).critical("%s", error)
    sys.exit(GUNICORN_BOOT_ERROR)
app = create_app(settings, job_types)
