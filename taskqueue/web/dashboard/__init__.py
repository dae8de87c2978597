"""rq-dashboard at /rq: its pages, with its defects mended from outside.

    guard.py     who may ask, and for what: login, origin, address; the headers of every answer
    shown.py     what its pages show of Redis: JSON only, whatever stands there, and never too much of it
    actions.py   what its buttons do, in place of its own
    patches.py   its templates, with everything escaped, and a notice of what went wrong
    refusals.py  an error as a page for people, or as a problem document for its scripts

It is mounted as a blueprint of our own that has rq-dashboard's name and its pages: its own blueprint belongs to
the whole process, and connects to Redis anew, without a timeout, with each request.
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

PREFIX = "/rq"
NAME = rq_dashboard_web.blueprint.name  # its templates ask for addresses under this name
POLL_MILLISECONDS = 2500  # how often an open page asks for news


def mount(app: Flask, settings: Settings) -> None:
    """Serve the dashboard of this Redis. It connects with the first request: Redis may be away now."""
    connection = connect_for_requests(settings.redis_url)
    # Where rq-dashboard's views look for a connection, and for the names of the servers that they show.
    app.redis_conn = connection  # type: ignore[attr-defined]
    app.config["RQ_DASHBOARD_REDIS_URL"] = (_without_password(settings.redis_url),)
    shown.use_in(rq_dashboard_web)

    blueprint = Blueprint(NAME, "rq_dashboard", static_folder="static")
    blueprint.jinja_loader = patches.loader()
    blueprint.context_processor(lambda: {"poll_interval": POLL_MILLISECONDS, "csp_nonce": guard.nonce()})
    guard.register(blueprint, settings.dashboard_auth, settings.api_keys)
    refusals.register(blueprint)
    # RQ puts a job on its queue anew if Redis's answer is lost and asked for again: then it would run twice.
    for_changes = connect_for_requests(settings.redis_url)
    for_changes.set_retry(Retry(NoBackoff(), retries=0))
    actions.register(blueprint, for_changes, Operations(for_changes, settings.failure_ttl_seconds))
    _take_pages(blueprint)
    app.register_blueprint(blueprint, url_prefix=PREFIX)


def _take_pages(blueprint: Blueprint) -> None:
    """Give `blueprint` those of rq-dashboard's addresses that only show something."""
    theirs = Flask("rq_dashboard", static_folder=None)
    theirs.register_blueprint(rq_dashboard_web.blueprint)
    for rule in theirs.url_map.iter_rules():
        name = rule.endpoint.removeprefix(f"{NAME}.")
        if "POST" not in (rule.methods or ()) and name != "static":
            blueprint.add_url_rule(rule.rule, name, theirs.view_functions[rule.endpoint], defaults=rule.defaults)


def _without_password(url: str) -> str:
    """Where this Redis is, for the top of each page; a URL may have its password in several places."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
