"""The HTTP face of the task queue: the API, its documents, and the dashboard, mounted on a Flask application.

http/        what all addresses share: keys, rate limits, problem documents, tracing, bodies
api/         the addresses, one file each
openapi/     the API document, made from the views
docs/        the API document as a page
dashboard/   rq-dashboard at /rq
console/     the console at /console

wsgi.py and start.py make the application in each process of gunicorn, whose settings are gunicorn_conf.py.

Only this folder imports Flask, and nothing in it imports the worker.
"""

import os
from weakref import WeakSet

from flask import Flask, Response, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue

from taskqueue.control.failed_tasks import FailedTasks
from taskqueue.control.ignored_failures import IgnoredFailures
from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.jobtypes.discovery import discover
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.checkup import Checkup
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.monitor.health import Probe
from taskqueue.monitor.prometheus import PrometheusReport
from taskqueue.monitor.queue_warnings import QueueWarnings
from taskqueue.monitor.result_waiter import ResultWaiter
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.run.files import open_files
from taskqueue.settings import Settings
from taskqueue.store.connection import (
    connect_for_bulk,
    connect_for_probes,
    connect_for_requests,
    connect_for_worker,
)
from taskqueue.tasks.listing import Listing
from taskqueue.telemetry.changes import Changes
from taskqueue.telemetry.series import Series
from taskqueue.web import console, dashboard, docs
from taskqueue.web.api import (
    batches,
    bulk,
    cluster,
    events,
    explain,
    failures,
    files,
    findings,
    health,
    logs,
    metrics,
    parents,
    requeue,
    schedules,
    submit,
    task,
    task_list,
    task_types,
    type_limits,
)
from taskqueue.web.api import changes as changes_view
from taskqueue.web.api import series as series_view
from taskqueue.web.front import Front, Hooks
from taskqueue.web.http import access, body, browsers, change_record, problems, rate_limit, tracing
from taskqueue.web.http.endpoint import endpoint
from taskqueue.web.http.guesses import Guesses
from taskqueue.web.http.json_text import FastJson
from taskqueue.web.http.path_prefix import ForwardedPrefix

MAX_WAITERS = 500  # requests of one process that wait for a result: each holds a connection to Redis


mounted: WeakSet[Flask] = WeakSet()
"""The applications of this process that have the API. What the event streams of each follow, its
`extensions["subscriptions"]`, is closed when the process stops: gunicorn_conf.py."""


def create_app(settings: Settings | None = None, job_types: JobTypes | None = None) -> Flask:
    """Return an application that has the API, its documents and the dashboard, and nothing else.

    It is a WSGI application: serve it by itself, or mount it under a path of an application of your own.

        flask_app.wsgi_app = DispatcherMiddleware(flask_app.wsgi_app, {"/jobs": create_app()})

    Without arguments it reads the environment, and finds the job types by JOBS. Nothing connects to Redis before
    the first request. Raises `InvalidSetting`, `InvalidJobType`.
    """
    app = Flask(__name__, static_folder=None)
    settings = settings or Settings.read(os.environ)
    if job_types is None:
        job_types = discover(*settings.jobs, queues=settings.queues)
    mount(app, settings, job_types)
    return app


def warm_up() -> None:
    """Prepare the console in all applications of this process: nobody's first look at a page has to wait for it.

    It takes half a second, and leaves room for requests meanwhile. `taskqueue web` does it in each of its
    processes; under another server, call it in a thread of each process. It reads Redis, and raises no error if
    Redis is away.
    """
    for app in list(mounted):
        console.warm_up(app)


def mount(app: Flask, settings: Settings, job_types: JobTypes) -> None:
    """Add the API, its documents and the dashboard to an application that has views of its own.

    Errors and access of its own views are then handled as the API's; `create_app` leaves them alone.

    Nothing connects to Redis before the first request. Raises `InvalidSetting` if a key in API_KEYS names a
    task type that does not exist.
    """
    is_bare = Hooks.none_on(app)
    app.json = FastJson(app)
    app.url_map.converters["task"] = task.TaskId
    connection = connect_for_requests(settings.redis_url)
    queue = TaskQueue(connection, settings, job_types, is_shared=True)

    changes = Changes(connection)
    tracing.register(app)
    problems.register(app)
    body.register(app, settings)
    browsers.register(app, settings, except_blueprints=(dashboard.NAME, console.NAME))
    access.register(app, queue, except_blueprints=(dashboard.NAME, console.NAME))
    change_record.register(app, changes, dashboard=dashboard.NAME)
    quotas = rate_limit.Quotas(connection, settings.rate_limit) if settings.rate_limit else None
    if quotas:
        rate_limit.register(app, quotas)

    result_waiter = ResultWaiter(connection, queue.get, MAX_WAITERS)
    queue_warnings = QueueWarnings(connect_for_probes(connection), settings.queues)
    subscriptions = Subscriptions(connection, connect_for_worker(connection))
    app.extensions["subscriptions"] = subscriptions
    mounted.add(app)
    failed_tasks = FailedTasks(connection, settings.queues)
    series = Series(connection)
    cluster_state = ClusterState(connection, settings.queues, series)
    batch_store = Batches(connect_for_bulk(connection), queue.submissions, job_types)
    schedule_store = Schedules(connection, queue.submissions, job_types)
    listing = Listing(connection, settings.queues)
    operations = Operations(connection, settings.failure_ttl_seconds)
    pauses = Pauses(connection, settings)
    type_control = TypeControl(connection, job_types)
    checkup = Checkup(settings)
    file_store = open_files(settings, connection)
    explainer = Explainer(connection, queue, cluster_state, settings)

    for blueprint in (
        submit.views(queue, result_waiter, queue_warnings),
        task.views(queue),
        logs.views(queue),
        parents.views(connection),
        events.views(queue, subscriptions),
        task_list.views(listing),
        task.operation_views(queue, operations),
        failures.views(failed_tasks),
        requeue.views(queue, failed_tasks),
        bulk.views(queue, listing),
        cluster.pause_views(pauses),
        batches.views(batch_store, settings, queue_warnings),
        schedules.views(schedule_store, job_types),
        task_types.views(job_types),
        type_limits.views(type_control, job_types),
        files.views(file_store, settings),
        health.views(Probe(settings.redis_url), health.FilesWatch(settings)),
        docs.views(app, job_types, settings),
        metrics.views(PrometheusReport(connect_for_probes(connection), settings.queues)),
        cluster.views(cluster_state),
        changes_view.views(changes),
        findings.views(checkup),
        series_view.views(series, job_types),
        explain.views(explainer),
    ):
        app.register_blueprint(blueprint)
    guesses = Guesses()  # of DASHBOARD_AUTH, at both doors
    dashboard.mount(app, settings, guesses)
    console.mount(
        app,
        console.Services(
            connection=connection,
            settings=settings,
            job_types=job_types,
            queue=queue,
            listing=listing,
            cluster_state=cluster_state,
            series=series,
            changes=changes,
            checkup=checkup,
            operations=operations,
            failed_tasks=failed_tasks,
            pauses=pauses,
            type_control=type_control,
            schedules=schedule_store,
            batches=batch_store,
            explainer=explainer,
            ignored=IgnoredFailures(connection),
            subscriptions=subscriptions,
            files=file_store,
            guesses=guesses,
        ),
    )

    @app.get("/")
    @endpoint("List the main addresses", scope=None, answers={200: dict[str, str]})
    def index() -> ResponseReturnValue:
        """A browser is led to the console."""
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return redirect(url_for("console.now"))
        addresses = {
            "console": "/console/",
            "docs": "/docs",
            "task_types": "/task-types",
            "dashboard": "/rq",
            "health": "/health",
        }
        return jsonify({name: request.script_root + path for name, path in addresses.items()})

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    if is_bare:
        app.wsgi_app = Front(app, queue, queue_warnings, quotas)  # type: ignore[method-assign]
    if settings.trust_forwarded_prefix:
        app.wsgi_app = ForwardedPrefix(app.wsgi_app)  # type: ignore[method-assign]
