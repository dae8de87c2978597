"""Hooks for schemathesis: rules that the API document gives in words, since no query schema can express them."""

from datetime import UTC, datetime
from typing import Any

import schemathesis

YEAR_SECONDS = 366 * 86_400


@schemathesis.hook
def filter_case(context: Any, case: schemathesis.Case) -> bool:
    """Skip a request that the schemas allow and the descriptions of its parameters do not."""
    if case.meta is not None and case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return True
    query = case.query or {}
    if (case.method, case.path) == ("POST", "/requeue"):
        return any(query.get(name) is not None for name in ("type", "queue", "tag", "failed_since", "group"))
    return (case.method, case.path) != ("POST", "/tasks") or _is_consistent(query)


def _is_consistent(query: Any) -> bool:
    delay, at, parents = query.get("delay"), query.get("at"), query.get("depends_on")
    return (
        (delay, at, parents or None).count(None) >= 2
        and not (str(query.get("allow_failure")).lower() == "true" and not parents)
        and not (delay and "expires_in" in query and float(delay) >= float(query["expires_in"]))
        and not (at and (datetime.fromisoformat(str(at)) - datetime.now(UTC)).total_seconds() > YEAR_SECONDS)
    )
