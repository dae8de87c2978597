"""How often a caller may call: 429, and what is left in the headers of each answer.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from ipaddress import IPv6Address, ip_address, ip_network

from flask import Flask, Response, g, request

from taskqueue.web.http.access import caller
from taskqueue.web.http.endpoint import operation_of
from taskqueue.web.http.problems import problem
from taskqueue.web.http.quotas import Quotas, Verdict

POLICY = '"default"'


def register(app: Flask, quotas: Quotas) -> None:
    """Count every request that `taskqueue.web.http.access` lets through, but health checks and pages."""
    quota = quotas.quota
    policy = f"{POLICY};q={quota.calls};w={quota.window_seconds}"

    @app.before_request
    def count() -> Response | None:
        described = operation_of(app, request.endpoint)
        if described is None or described.scope is None:
            return None
        verdict = g.verdict = quotas.take(_caller_name())
        if verdict.allowed:
            return None
        detail = (
            f"At most {quota.calls:,} requests in {quota.window_seconds} s; come again in {verdict.seconds} s."
        )
        answer = problem(429, "too-many-requests", "Too many requests", detail)
        answer.headers["Retry-After"] = str(verdict.seconds)
        return answer

    @app.after_request
    def tell(response: Response) -> Response:
        verdict: Verdict | None = g.get("verdict")
        if verdict:
            response.headers["RateLimit-Policy"] = policy
            response.headers["RateLimit"] = f"{POLICY};r={verdict.left};t={verdict.seconds}"
        return response


def _caller_name() -> str:
    """Who is counted: a key; where the API is open, an address (of IPv6, a network: one customer has so many)."""
    key = caller()
    if key is not None:
        return f"key:{key.name}"
    address = ip_address(request.remote_addr or "::")
    if isinstance(address, IPv6Address):
        return f"address:{ip_network((address, 64), strict=False)}"
    return f"address:{address}"
