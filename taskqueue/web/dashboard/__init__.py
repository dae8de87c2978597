"""rq-dashboard at /rq, with its defects fixed from outside.

    guard.py     login, origin and address of each request; the security headers of each answer
    shown.py     reads Redis for its pages: JSON only, whatever is stored there, and never too much
    actions.py   its buttons, instead of rq-dashboard's own
    patches.py   its templates, with everything escaped and with notices of errors
    refusals.py  errors: a page for people, a problem document for scripts

It is mounted as a blueprint of this package, with the name and the pages of rq-dashboard: the original blueprint
is global to the process, and connects to Redis at each request, without a timeout.
"""

from urllib.parse import urlsplit

from flask import Blueprint, Flask
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq_dashboard import web as rq_dashboard_web

from taskqueue.control.operations import Operations
from taskqueue.settings import Settings
from taskqueue.store.connection import connect_for_requests
from taskqueue.web.dashboard import actions, guard, patches, refusals, shown
from taskqueue.web.http.guesses import Guesses

PREFIX = "/rq"
NAME = rq_dashboard_web.blueprint.name  # its templates make addresses with this name
POLL_MILLISECONDS = 2500  # how often an open page refreshes


def mount(app: Flask, settings: Settings, guesses: Guesses) -> None:
    """Serve the dashboard, and count wrong guesses at its login.

    It connects to Redis with the first request, so Redis may be unavailable now.
    """
    connection = connect_for_requests(settings.redis_url)
    # rq-dashboard's views read the connection and the names of the servers here.
    app.redis_conn = connection  # type: ignore[attr-defined]
    app.config["RQ_DASHBOARD_REDIS_URL"] = (_without_password(settings.redis_url),)
    shown.use_in(rq_dashboard_web)

    blueprint = Blueprint(NAME, "rq_dashboard", static_folder="static")
    blueprint.jinja_loader = patches.loader()
    blueprint.context_processor(lambda: {"poll_interval": POLL_MILLISECONDS, "csp_nonce": guard.nonce()})
    guard.register(blueprint, settings.dashboard_auth, settings.api_keys, guesses)
    refusals.register(blueprint)
    # No retries: if Redis's answer is lost, RQ would put a job on its queue a second time, and it would run twice.
    for_changes = connect_for_requests(settings.redis_url)
    for_changes.set_retry(Retry(NoBackoff(), retries=0))
    actions.register(blueprint, for_changes, Operations(for_changes, settings.failure_ttl_seconds))
    _add_pages(blueprint)
    app.register_blueprint(blueprint, url_prefix=PREFIX)


def _add_pages(blueprint: Blueprint) -> None:
    """Add to `blueprint` the addresses of rq-dashboard that only show something."""
    original = Flask("rq_dashboard", static_folder=None)
    original.register_blueprint(rq_dashboard_web.blueprint)
    for rule in original.url_map.iter_rules():
        name = rule.endpoint.removeprefix(f"{NAME}.")
        if "POST" not in (rule.methods or ()) and name != "static":
            blueprint.add_url_rule(rule.rule, name, original.view_functions[rule.endpoint], defaults=rule.defaults)


def _without_password(url: str) -> str:
    """Return the host and the database of a Redis URL, for the top of each page.

    The rest is left out: a URL may have its password in several places.
    """
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
