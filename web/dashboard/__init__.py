"""rq-dashboard at `/rq`, mended from outside: behind a login, without pickle, and without scripts of strangers.

- `guard.py` decides before each request: who asks, from where, and whether the address makes sense.
- `rq_objects.py` is what it reads Redis with: JSON only, and nothing in Redis makes it fail.
- `templates.py` escapes what its pages show.
"""

import rq_dashboard.web as rq_dashboard
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer

from taskqueue.connection import connect_for_requests
from taskqueue.settings import Settings
from web.dashboard import guard, rq_objects, templates

URL_PREFIX = "/rq"
MAX_REQUEUED = 10_000  # by one click; the next one takes the rest


def _mend() -> None:
    """Put our parts in the place of rq-dashboard's own, once for the process: its blueprint is one object."""
    blueprint = rq_dashboard.blueprint
    rq_dashboard.config.serializer = JSONSerializer
    rq_dashboard.Job = rq_objects.SafeJob
    rq_dashboard.Queue = rq_objects.SafeQueue
    rq_dashboard.Worker = rq_objects.SafeWorker
    rq_dashboard.requeue_job = rq_objects.requeue_job
    blueprint.jinja_loader = templates.EscapingLoader(blueprint.jinja_loader)
    # Its own would connect anew for each request, with no time limit.
    blueprint.before_request_funcs[None].remove(rq_dashboard.push_rq_connection)
    guard.protect(blueprint)


_mend()


def mount(app: Flask, settings: Settings) -> None:
    """Serve the dashboard of the settings' Redis under `/rq`."""
    app.redis_conn = connect_for_requests(settings.redis_url)  # type: ignore[attr-defined]  # where it looks
    app.config["RQ_DASHBOARD_REDIS_URL"] = ["TASK_QUEUE_URL"]  # shown on its pages; the URL may have a password
    app.config["DASHBOARD_AUTH"] = settings.dashboard_auth
    app.register_blueprint(rq_dashboard.blueprint, url_prefix=URL_PREFIX)

    def requeue_all(queue_name: str) -> ResponseReturnValue:
        """Send the failures of a queue again. One that vanished meanwhile does not stop the others."""
        connection = app.redis_conn  # type: ignore[attr-defined]
        failed = rq_objects.SafeQueue(queue_name, connection=connection).failed_job_registry
        count = 0
        for job_id in failed.get_job_ids(0, MAX_REQUEUED - 1, cleanup=False):
            try:
                rq_objects.requeue_job(job_id, connection)
                count += 1
            except (NoSuchJobError, InvalidJobOperation):
                failed.remove(job_id)
        return jsonify({"status": "OK", "count": count})

    app.view_functions["rq_dashboard.requeue_all"] = requeue_all
