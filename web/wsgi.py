"""The application for gunicorn: `gunicorn -c taskqueue/web/gunicorn_conf.py web.wsgi:app`."""

from taskqueue.web.start import start
from web import create_app

app = start(create_app)
