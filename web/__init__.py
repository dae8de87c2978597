"""The Flask application: who asks. It talks to Redis through `taskqueue` only."""

from typing import Any

from flask import Flask, Response, jsonify
from flask.json.provider import JSONProvider
from flask.typing import ResponseReturnValue
from pydantic_core import from_json

from taskqueue.batches import Batches
from taskqueue.connection import connect_for_bulk, connect_for_probes, connect_for_requests, connect_for_worker
from taskqueue.explanation import Explainer
from taskqueue.failed_tasks import FailedTasks
from taskqueue.files import open_files
from taskqueue.fleet import Fleet
from taskqueue.health import Probe
from taskqueue.job_types import JobTypes
from taskqueue.listing import Listing
from taskqueue.obstacles import Lookout
from taskqueue.operations import Operations
from taskqueue.overview import Overview
from taskqueue.pauses import Pauses
from taskqueue.queue import TaskQueue
from taskqueue.quota import Quotas
from taskqueue.schedules import Schedules
from taskqueue.settings import Settings
from taskqueue.waiting import Waiters
from taskqueue.watching import Watcher
from web import (
    access,
    batches,
    docs,
    events,
    explanation,
    failures,
    files,
    health,
    limits,
    listing,
    logs,
    metrics,
    operations,
    overview,
    pauses,
    problems,
    requeue,
    schedules,
    submit,
    task_types,
    tasks,
    tracing,
)
from web.dashboard import NAME as DASHBOARD
from web.dashboard import mount as mount_dashboard
from web.json_text import json_text
from web.operation import operation

MAX_WAITERS = 500  # of one process: each holds a connection to Redis


class FastJson(JSONProvider):
    """JSON by pydantic's core, several times as fast as the standard library; fields as they are told."""

    def dumps(self, obj: Any, **_: Any) -> str:
        """One line of text, which a terminal shows as one."""
        return json_text(obj) + "\n"

    def loads(self, s: str | bytes, **_: Any) -> Any:
        """From text."""
        return from_json(s)


def create_app(settings: Settings, job_types: JobTypes) -> Flask:
    """The application. It connects with the first request, not here: it may start before Redis does."""
    app = Flask(__name__)
    app.json = FastJson(app)
    connection = connect_for_requests(settings.redis_url)
    queue = TaskQueue(connection, settings, job_types)

    tracing.register(app)
    problems.register(app)
    access.register(app, queue, elsewhere=DASHBOARD)
    if settings.rate_limit:
        limits.register(app, Quotas(connection, settings.rate_limit))
    waiters = Waiters(connection, queue.get, MAX_WAITERS)
    lookout = Lookout(connect_for_probes(connection), settings.queues)
    app.register_blueprint(submit.views(queue, waiters, lookout))
    app.register_blueprint(tasks.views(queue))
    app.register_blueprint(logs.views(queue))
    app.extensions["watcher"] = watcher = Watcher(connection, connect_for_worker(connection))
    app.register_blueprint(events.views(queue, watcher))
    app.register_blueprint(listing.views(Listing(connection, settings.queues)))
    app.register_blueprint(operations.views(queue, Operations(connection, settings.failure_ttl_seconds)))
    failed = FailedTasks(connection, settings.queues)
    app.register_blueprint(failures.views(failed))
    app.register_blueprint(requeue.views(queue, failed))
    app.register_blueprint(pauses.views(Pauses(connection, settings)))
    app.register_blueprint(
        batches.views(Batches(connect_for_bulk(connection), queue.submissions, job_types), settings, lookout)
    )
    app.register_blueprint(schedules.views(Schedules(connection, queue.submissions, job_types), job_types))
    app.register_blueprint(task_types.views(job_types))
    app.register_blueprint(files.views(open_files(settings, connection), settings))
    app.register_blueprint(health.views(Probe(settings.redis_url)))
    app.register_blueprint(docs.views(app, job_types, settings))
    app.register_blueprint(metrics.views(Fleet(connect_for_probes(connection), settings.queues)))
    fleet = Overview(connection, settings.queues)
    app.register_blueprint(overview.views(fleet))
    app.register_blueprint(explanation.views(Explainer(connection, queue, fleet, settings)))
    mount_dashboard(app, settings)

    @app.get("/")
    @operation("Where to look", scope=None, answers={200: dict[str, str]})
    def index() -> ResponseReturnValue:
        return jsonify({"docs": "/docs", "task_types": "/task-types", "dashboard": "/rq", "health": "/health"})

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return app
