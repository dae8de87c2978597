"""The Flask application: who asks. It talks to Redis through `taskqueue` only."""

from flask import Flask, Response, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.connection import connect_for_requests
from taskqueue.files import open_files
from taskqueue.health import Probe
from taskqueue.job_types import JobTypes
from taskqueue.queue import TaskQueue
from taskqueue.settings import Settings
from web import access, files, health, problems, task_types, tasks
from web.dashboard import NAME as DASHBOARD
from web.dashboard import mount as mount_dashboard
from web.operation import operation


def create_app(settings: Settings, job_types: JobTypes) -> Flask:
    """The application. It connects with the first request, not here: it may start before Redis does."""
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # fields in the order in which they are told
    connection = connect_for_requests(settings.redis_url)
    queue = TaskQueue(connection, settings, job_types)

    problems.register(app)
    access.register(app, queue, elsewhere=DASHBOARD)
    app.register_blueprint(tasks.views(queue))
    app.register_blueprint(task_types.views(job_types))
    app.register_blueprint(files.views(open_files(settings, connection), settings))
    app.register_blueprint(health.views(Probe(settings.redis_url)))
    mount_dashboard(app, settings)

    @app.get("/")
    @operation("Where to look", scope=None, answers={200: dict[str, str]})
    def index() -> ResponseReturnValue:
        return jsonify({"task_types": "/task-types", "dashboard": "/rq", "health": "/health"})

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
