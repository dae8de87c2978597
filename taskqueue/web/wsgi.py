"""The application of `taskqueue web`, for gunicorn: `taskqueue.web.wsgi:app`."""

from taskqueue.web import create_app
from taskqueue.web.start import start

app = start(create_app)
