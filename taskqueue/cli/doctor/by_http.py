"""What the doctor sees over HTTP: the web server, and what it tells of the rest."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from ipaddress import ip_address

from prometheus_client.parser import text_string_to_metric_families
from urllib3 import BaseHTTPResponse
from urllib3.util import parse_url

from taskqueue.cli.api import Api
from taskqueue.cli.by_http import HttpClient
from taskqueue.cli.doctor.finding import (
    MAX_SKEW_SECONDS,
    WORKERS_SUSPENDED,
    Finding,
    clock,
    eviction,
    memory,
    of_queue,
    of_workers,
    persistence,
    scheduler,
)
from taskqueue.errors import ApiRefused

API_VERSION = "1"  # of /openapi.json: what this command line speaks
UNSEEN = Finding(
    "the rest",
    None,
    "Redis's version, clock and snapshots are not told over HTTP",
    "Run `python -m taskqueue doctor` without --url where Redis can be reached.",
)


def look(api: Api) -> Iterator[Finding]:
    """At the web server first: where it does not answer, or not to this key, nothing else is told."""
    before = time.time()
    try:
        alive = api.send("GET", "/healthz")
        api.told("/healthz", alive, "status")
    except ApiRefused as refused:
        yield _refused("web server", refused)
        return
    yield Finding("web server", True, api.url)
    yield _clock(alive, before, time.time())
    yield _ready(api)
    try:
        document = api.ask("GET", "/openapi.json", "info")
    except ApiRefused as refused:
        yield _refused("access", refused)
        return
    yield _access(alive, api.url)
    yield _version(str(document["info"]["version"]))
    yield _dashboard(api)
    yield from _as_told("queues", _of_fleet(HttpClient(api)))
    yield from _as_told("Redis", _of_redis(api))
    yield UNSEEN


def _refused(about: str, refused: ApiRefused) -> Finding:
    return Finding(about, False, refused.message, refused.fix)


def _clock(answer: BaseHTTPResponse, before: float, after: float) -> Finding:
    """By the Date header, which is cut to whole seconds."""
    try:
        date = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return Finding("clock", None, "the web server does not say what time it has")
    skew, within = date + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2
    found = f"{skew:+.1f} s between the web server and this machine, give or take {within:.1f}"
    return clock(abs(skew) - within < MAX_SKEW_SECONDS, found)


def _ready(api: Api) -> Finding:
    try:
        api.ask("GET", "/readyz", "status")
    except ApiRefused as refused:
        return _refused("takes tasks", refused)
    return Finding("takes tasks", True, "a task could be queued now")


def _access(answer: BaseHTTPResponse, url: str) -> Finding:
    is_open, here = answer.headers.get("X-Access") == "open", is_this_machine(url)
    if is_open:
        mend = "Set API_KEYS before others can reach it: python -m taskqueue key NAME"
        return Finding("access", here, "open: whoever reaches it needs no key", mend)
    if not here and not url.startswith("https:"):
        return Finding(
            "access", False, "the key is sent unencrypted", "Use https:// in --url (or TASK_QUEUE_API)."
        )
    return Finding("access", True, "with a key, and this one is good")


def is_this_machine(url: str) -> bool:
    """Whether a request to this URL stays on this machine."""
    host = (parse_url(url).host or "").strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761


def _version(version: str) -> Finding:
    mend = "Use the command line of the web server's own release."
    return Finding("API version", version == API_VERSION, f"{version}; this speaks {API_VERSION}", mend)


def _dashboard(api: Api) -> Finding:
    status = api.status("/rq/")
    has_a_login = status in (401, 403)  # of its own
    mend = "The web server's log says why."
    return Finding("dashboard", status == 200 or has_a_login, f"{api.url}/rq answers {status}", mend)


def _as_told(about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """These findings, or one that says why the API does not tell them."""
    try:
        yield from findings
    except ApiRefused as refused:
        # A key that is for some task types sees none of it, and a proxy may keep /metrics to itself.
        hidden = refused.status in (403, 404)
        yield Finding(about, None if hidden else False, refused.message, refused.fix)


def _of_fleet(client: HttpClient) -> Iterator[Finding]:
    yield from map(of_queue, client.queues())
    yield from of_workers(client.workers())


def _figures(api: Api) -> dict[str, float]:
    """What `/metrics` tells of the whole, without labels."""
    text = api.send("GET", "/metrics", {"Accept": "text/plain"}).data.decode()
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def _of_redis(api: Api) -> Iterator[Finding]:
    figures = _figures(api)
    if figures.get("taskqueue_suspended"):
        yield WORKERS_SUSPENDED
    moves = figures["taskqueue_scheduler_alive"] == 1
    yield scheduler(moves, f"for {'all queues' if moves else 'not all queues'}")
    keeps = figures["taskqueue_redis_keeps_all"] == 1
    yield eviction(keeps, "noeviction" if keeps else "not noeviction")
    logs = figures["taskqueue_redis_append_only"] == 1
    yield persistence(logs, f"on disk: {'each change' if logs else 'not each change'}")
    yield memory(figures["taskqueue_redis_memory_bytes"], figures["taskqueue_redis_memory_max_bytes"])
