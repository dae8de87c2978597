"""The doctor's checks over HTTP: the web server, and through it the queues, the workers and Redis."""

import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from taskqueue.cli.by_http import HttpOperations
from taskqueue.cli.refusals import found_and_fix
from taskqueue.client import Client
from taskqueue.client.problems import not_this_api
from taskqueue.errors import ApiRefused, TaskQueueError
from taskqueue.monitor import checks
from taskqueue.monitor.checks import MAX_SKEW_SECONDS, Check

API_VERSION = "1"  # of /openapi.json: the version that this command line speaks
PAUSED_HOSTS = "taskqueue_hosts_paused"  # with the label `kind`
UNSEEN = Check(
    "the rest",
    None,
    "Redis is not asked from here",
    "Run `python -m taskqueue doctor` without --url where Redis can be reached.",
)


def look(client: Client) -> Iterator[Check]:
    """Yield checks. If the web server does not answer, or refuses the key, nothing else is checked."""
    before = time.time()
    try:
        alive = client.request("GET", "/healthz")
        _object(alive, "status")
    except TaskQueueError as refused:
        yield _refused("web server", refused)
        return
    yield Check("web server", True, client.url)
    yield _clock(alive, before, time.time())
    yield from _ready(client)
    try:
        document = _ask(client, "/openapi.json", "info")
    except TaskQueueError as refused:
        yield _refused("access", refused)
        return
    yield _access(alive, client.url)
    yield _version(str(document["info"]["version"]))
    yield _dashboard(client)
    yield from _unless_refused("queues", _cluster(HttpOperations(client)))
    yield from _unless_refused("Redis", _redis(client))
    yield from _unless_refused("findings", _findings(client))
    yield UNSEEN


def _ask(client: Client, path: str, *fields: str) -> dict[str, Any]:
    """Return the JSON object at a path. Raises `ApiRefused` unless it has these fields."""
    return _object(client.request("GET", path), *fields)


def _object(answer: httpx.Response, *fields: str) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not (isinstance(body, dict) and all(field in body for field in fields)):
        raise not_this_api(answer)
    return body


def _refused(about: str, refused: TaskQueueError) -> Check:
    return Check(about, False, *found_and_fix(refused))


def _clock(answer: httpx.Response, before: float, after: float) -> Check:
    """Compare the clocks by the Date header, which is cut to whole seconds."""
    try:
        date = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return Check("clock", None, "the web server sends no Date header")
    skew, within = date + 0.5 - (before + after) / 2, 0.5 + (after - before) / 2
    found = f"{skew:+.1f} s between the web server and this machine, give or take {within:.1f}"
    return checks.clock(abs(skew) - within < MAX_SKEW_SECONDS, found)


def _ready(client: Client) -> Iterator[Check]:
    try:
        answer = _ask(client, "/readyz", "status")
    except TaskQueueError as refused:
        yield _refused("takes tasks", refused)
        return
    yield Check("takes tasks", True, "a task could be queued now")
    for warning in answer.get("warnings", ()):
        yield Check("files", False, str(warning["message"]))


def _access(answer: httpx.Response, url: str) -> Check:
    is_open, here = answer.headers.get("X-Access") == "open", is_this_machine(url)
    if is_open:
        fix = "Set API_KEYS before others can reach it: python -m taskqueue key NAME"
        return Check("access", here, "open: everybody who can reach it needs no key", fix)
    if not here and not url.startswith("https:"):
        return Check("access", False, "the key is sent unencrypted", "Use https:// in --url (or TASK_QUEUE_API).")
    return Check("access", True, "a key is needed, and this key is valid")


def is_this_machine(url: str) -> bool:
    """Return whether a request to this URL stays on this machine."""
    host = httpx.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761


def _version(version: str) -> Check:
    fix = "Use the command line of the web server's own release."
    return Check("API version", version == API_VERSION, f"{version}; this speaks {API_VERSION}", fix)


def _dashboard(client: Client) -> Check:
    try:
        status = client.request("GET", "/rq/").status_code
    except ApiRefused as refused:
        if refused.status is None:
            raise
        status = refused.status
    has_own_login = status in (401, 403)
    fix = "Look into the web server's log."
    return Check("dashboard", status == 200 or has_own_login, f"{client.url}/rq answers {status}", fix)


def _unless_refused(about: str, made: Iterator[Check]) -> Iterator[Check]:
    """Yield these checks, or one that says why the API refused them."""
    try:
        yield from made
    except TaskQueueError as refused:
        # A key for some task types may see none of it, and a proxy may hide /metrics.
        hidden = isinstance(refused, ApiRefused) and refused.status in (403, 404)
        yield Check(about, None if hidden else False, *found_and_fix(refused))


def _cluster(operations: HttpOperations) -> Iterator[Check]:
    yield from map(checks.queue, operations.queues())
    with suppress(ApiRefused):  # an older server has no such address; and a key for some types sees those alone
        yield from checks.task_types(operations.limits())
    yield from checks.workers(operations.workers())


def _figures(client: Client) -> dict[str, float]:
    """Return the values of `/metrics` that have no labels; the paused hosts as PAUSED_HOSTS and their kind."""
    text = client.request("GET", "/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    hosts = {f"{PAUSED_HOSTS}{each.labels['kind']}": each.value for each in samples if each.name == PAUSED_HOSTS}
    return {sample.name: sample.value for sample in samples if not sample.labels} | hosts


def _redis(client: Client) -> Iterator[Check]:
    figures = _figures(client)
    if figures.get("taskqueue_suspended"):
        yield checks.workers_suspended()
    alive = figures["taskqueue_scheduler_alive"] == 1
    yield checks.scheduler(alive, f"for {'all queues' if alive else 'not all queues'}")
    kinds = {name.removeprefix(PAUSED_HOSTS): int(figures[name]) for name in figures if PAUSED_HOSTS in name}
    yield checks.hosts(kinds)
    keeps_all = figures["taskqueue_redis_keeps_all"] == 1
    yield checks.eviction(keeps_all, "noeviction" if keeps_all else "not noeviction")
    appends = figures["taskqueue_redis_append_only"] == 1
    yield checks.persistence(
        appends, f"on disk: {'each change' if appends else 'not each change'}", snapshots=True
    )
    yield checks.memory(figures["taskqueue_redis_memory_bytes"], figures["taskqueue_redis_memory_max_bytes"])


def _findings(client: Client) -> Iterator[Check]:
    """Yield those of the web server's own checks that nothing else here shows."""
    for finding in client.findings().findings:
        if finding.about in ("version", "clock"):
            found = finding.found.replace("this machine", "the web server")
            yield Check(f"Redis {finding.about}", finding.ok, found, finding.fix)
        elif finding.about.startswith("outbox "):
            yield Check(finding.about, finding.ok, finding.found, finding.fix)
