"""`GET /findings`: what the doctor checks, over HTTP."""

from dataclasses import dataclass

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from taskqueue.monitor.checkup import Checkup
from taskqueue.web.http.endpoint import endpoint


@dataclass(frozen=True)
class FindingJson:
    """A check of the doctor, what was found, and what to do if it is not ok."""

    about: str
    ok: bool | None
    """null: it cannot be seen."""
    found: str
    fix: str
    """Has a line for each thing to do; empty if nothing is to be done."""


@dataclass(frozen=True)
class FindingsJson:
    """All checks; `ok` is false if one of them found something wrong."""

    ok: bool
    findings: list[FindingJson]


def views(checkup: Checkup) -> Blueprint:
    """Return the view of `/findings`."""
    blueprint = Blueprint("findings", __name__)

    @blueprint.get("/findings")
    @endpoint("Find what is wrong", scope="read", answers={200: FindingsJson})
    def findings() -> ResponseReturnValue:
        """The checks of `python -m taskqueue doctor`, at most two seconds old: Redis, the queues, the workers.

        If Redis does not answer, that is one of the findings (200).
        """
        checks = checkup.latest()
        shown = [FindingJson(each.about, each.ok, each.found, "" if each.ok else each.fix) for each in checks]
        return jsonify(FindingsJson(all(check.ok is not False for check in checks), shown))

    return blueprint
