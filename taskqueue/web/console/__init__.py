"""The console at /console: the pages that an operator opens when something is wrong.

sessions.py     who is signed in, in Redis
guard.py        each request: session, scope, form token, security headers
errors.py       errors as pages
notices.py      what a form has done, shown on the next page
charts.py       charts as SVG
now.py, queues.py, …   one file for each page: what it shows, and what its buttons do

Every page is a GET with its state in the address, and works without scripts. Every action is a POST form. Views
call the library in the same process, as the API does. static/console.js refreshes what has `data-live`.
"""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from flask import Blueprint, Flask, url_for
from flask.typing import ResponseReturnValue
from redis import Redis
from werkzeug.exceptions import NotFound

from taskqueue.control.failed_tasks import FailedTasks
from taskqueue.control.ignored_failures import IgnoredFailures
from taskqueue.control.operations import Operations
from taskqueue.control.pauses import Pauses
from taskqueue.control.type_limits import TypeControl
from taskqueue.enqueue.batch import Batches
from taskqueue.enqueue.queue import TaskQueue
from taskqueue.enqueue.schedule_store import Schedules
from taskqueue.errors import QueueUnavailable
from taskqueue.jobtypes.registry import JobTypes
from taskqueue.monitor.checkup import Checkup
from taskqueue.monitor.cluster_state import ClusterState
from taskqueue.monitor.diagnosis import Explainer
from taskqueue.monitor.subscriptions import Subscriptions
from taskqueue.run.files import FileStore
from taskqueue.settings import Settings
from taskqueue.tasks.listing import Listing
from taskqueue.telemetry.changes import Changes
from taskqueue.telemetry.series import Series
from taskqueue.web.http.guesses import Guesses
from taskqueue.web.http.static import library_file

PREFIX = "/console"
NAME = "console"
STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates" / "console"
YEAR_SECONDS = 365 * 86_400
PAUSE_SECONDS = 0.01  # after each template: requests that have come are answered meanwhile
PAGES = (  # the view of each page, its name, and its key behind "g"
    ("console.now", "Now", "n"),
    ("console.tasks", "Tasks", "t"),
    ("console.failures", "Failures", "f"),
    ("console.queues", "Queues", "q"),
    ("console.types", "Types", "y"),
    ("console.workers", "Workers", "w"),
    ("console.schedule_list", "Schedules", "s"),
    ("console.batches", "Batches", "a"),
    ("console.bulk_actions", "Bulk", "b"),
    ("console.changes", "Changes", "c"),
    ("console.submit_list", "Submit", "u"),
)
PAGE_OF = {
    "console.batch": "console.batches",
    "console.schedule": "console.schedule_list",
    "console.edit_schedule": "console.schedule_list",
    "console.task": "console.tasks",
    "console.bulk_form": "console.bulk_actions",
    "console.submit_form": "console.submit_list",
}
FOR_ALL_TYPES = frozenset(
    {"console.queues", "console.workers", "console.batches", "console.bulk_actions"}
)  # hidden from keys for some task types
FOR_SUBMITTERS = frozenset({"console.submit_list"})


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the pages show and change things with: the objects that the API uses."""

    connection: Redis
    settings: Settings
    job_types: JobTypes
    queue: TaskQueue
    listing: Listing
    cluster_state: ClusterState
    series: Series
    changes: Changes
    checkup: Checkup
    operations: Operations
    failed_tasks: FailedTasks
    pauses: Pauses
    type_control: TypeControl
    schedules: Schedules
    batches: Batches
    explainer: Explainer
    ignored: IgnoredFailures
    subscriptions: Subscriptions
    files: FileStore
    guesses: Guesses  # at DASHBOARD_AUTH, here and at /rq


def pages() -> list[tuple[str, str, str]]:
    """Return the pages that the caller may see."""
    from taskqueue.web.console.guard import may, sees_all

    hidden = frozenset() if sees_all() else FOR_ALL_TYPES
    hidden |= frozenset() if may("submit") else FOR_SUBMITTERS
    return [page for page in PAGES if page[0] not in hidden]


def page_of(endpoint: str | None) -> str:
    """Return the view of the page in the navigation that a view belongs to."""
    return PAGE_OF.get(endpoint or "", endpoint or "")


def warm_up(app: Flask) -> None:
    """Compile the templates of an application's console, and read the failures that its pages remember."""
    for file in sorted(TEMPLATES.iterdir()):
        app.jinja_env.get_template(f"{TEMPLATES.name}/{file.name}")
        time.sleep(PAUSE_SECONDS)
    services: Services = app.extensions[NAME]
    with suppress(QueueUnavailable):
        services.failed_tasks.groups()


def mount(app: Flask, services: Services) -> None:
    """Serve the console. It connects to Redis with the first request, or in `warm_up`."""
    app.extensions[NAME] = services
    # Imported here: the pages import `Services`, `PREFIX` and `NAME` from this file.
    from taskqueue.web.console import (
        batches,
        bulk,
        changes,
        errors,
        failures,
        format,  # noqa: A004
        guard,
        notices,
        now,
        queues,
        schedules,
        submit,
        task,
        tasks,
        types,
        workers,
    )

    blueprint = Blueprint(NAME, __name__, url_prefix=PREFIX, template_folder="templates")
    versions = {file.name: sha256(file.read_bytes()).hexdigest()[:12] for file in STATIC.iterdir()}

    @blueprint.get("/static/<version>/<name>")
    def static_file(version: str, name: str) -> ResponseReturnValue:
        if versions.get(name) != version:
            raise NotFound
        response = library_file(STATIC / name, YEAR_SECONDS)
        response.cache_control.immutable = True
        return response

    def asset(name: str) -> str:
        return url_for("console.static_file", version=versions[name], name=name)

    guard.register(blueprint, services)
    notices.register(blueprint)
    errors.register(blueprint)
    format.register(blueprint)
    blueprint.context_processor(
        lambda: {
            "asset": asset,
            "settings": services.settings,
            "pages": pages,
            "page_of": page_of,
            "now": lambda: datetime.now(UTC),
        }
    )
    for page in (now, tasks, task, failures, bulk, batches, queues, types, workers, schedules, changes, submit):
        page.register(blueprint, services)
    app.register_blueprint(blueprint)
