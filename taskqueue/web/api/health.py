"""Health checks: the process (`/healthz`), Redis (`/health`), and whether a task could be queued (`/readyz`)."""

import logging
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Literal, NotRequired

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from gevent import threadpool
from gevent.monkey import is_module_patched
from typing_extensions import TypedDict

from taskqueue.errors import FilesUnavailable
from taskqueue.monitor.finding import Finding, FindingJson, files_unavailable
from taskqueue.monitor.health import Probe
from taskqueue.run.files import check_files
from taskqueue.settings import Settings
from taskqueue.web.http.endpoint import endpoint

log = logging.getLogger(__name__)

FILES_SECONDS = 30.0  # between two looks at the bucket
FIRST_LOOK_SECONDS = 0.5  # for which the first check waits


class HealthJson(TypedDict):
    """The check has passed; a check that fails is a problem document."""

    status: Literal["ok"]


class ReadyJson(HealthJson):
    """A task could be queued now. `warnings`: what else is wrong."""

    warnings: NotRequired[list[FindingJson]]


class FilesWatch:
    """Looks at the bucket of FILES_URL now and then. No health check waits for a bucket that hangs.

    It looks in a thread of its own, not in one of gevent's: see `InThreads`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._executor: Executor | None = None  # made by the first check: it belongs to the process
        self._look: Future[None] | None = None
        self._looked_at = 0.0  # monotonic
        self._warnings: list[Finding] = []

    def warnings(self) -> list[Finding]:
        """Return what the last look found."""
        if self._settings.files_url is None:
            return []
        if self._executor is None:
            patched = is_module_patched("threading")
            self._executor = threadpool.ThreadPoolExecutor(1) if patched else ThreadPoolExecutor(1)
        if self._look is None:
            self._warnings = [files_unavailable()]  # if it does not answer soon enough
            self._begin(self._executor)
        elif self._look.done() and time.monotonic() - self._looked_at > FILES_SECONDS:
            self._begin(self._executor)
        return self._warnings

    def _begin(self, executor: Executor) -> None:
        is_first = self._look is None
        self._looked_at = time.monotonic()
        self._look = executor.submit(self._check)
        if is_first:
            with suppress(TimeoutError):
                self._look.result(FIRST_LOOK_SECONDS)

    def _check(self) -> None:
        try:
            check_files(self._settings)
        except FilesUnavailable as error:
            log.warning("%s", error)
            self._warnings = [files_unavailable()]
        else:
            self._warnings = []


def views(probe: Probe, files: FilesWatch) -> Blueprint:
    """Return the views of the health checks."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @endpoint("Check that this process is alive", scope=None, answers={200: HealthJson})
    def alive() -> ResponseReturnValue:
        # Redis is not asked: a restart of the web server would not bring Redis back.
        return jsonify({"status": "ok"})

    @blueprint.get("/health")
    @endpoint("Check that Redis answers", scope=None, answers={200: HealthJson}, problems=(503,))
    def health() -> ResponseReturnValue:
        probe.check_answers()
        return jsonify({"status": "ok"})

    @blueprint.get("/readyz")
    @endpoint("Check that a task could be queued now", scope=None, answers={200: ReadyJson}, problems=(503,))
    def ready() -> ResponseReturnValue:
        """A bucket that does not answer is a warning: most tasks need no files."""
        probe.check_takes_work()
        warnings = [finding.json() for finding in files.warnings()]
        return jsonify({"status": "ok"} | ({"warnings": warnings} if warnings else {}))

    return blueprint
