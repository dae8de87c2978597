"""The Flask application. Your own views belong here; those of the task queue are in taskqueue/web."""

from flask import Flask

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.web import mount


def create_app(settings: Settings, job_types: JobTypes) -> Flask:
    """Return the application. It connects to Redis with the first request, so it may start before Redis does."""
    app = Flask(__name__)
    mount(app, settings, job_types)
    return app
