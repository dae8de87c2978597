"""The path under which a proxy serves the API: it removes the path, and sends it as X-Forwarded-Prefix."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class ForwardedPrefix:
    """WSGI middleware that puts the proxy's path before the one at which the application is mounted itself.

    It takes nothing else of X-Forwarded-…: with a host from there, any page could give this server a known name.
    """

    def __init__(self, app: "WSGIApplication") -> None:
        self._app = app
        self._fix = ProxyFix(self._mounted, x_for=0, x_proto=0, x_prefix=1)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        if _is_fixed(environ):
            return self._app(environ, start_response)
        return self._fix(environ, start_response)

    def _mounted(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        before = environ["werkzeug.proxy_fix.orig"]["SCRIPT_NAME"] or ""
        if environ.get("SCRIPT_NAME", "") != before:
            environ["SCRIPT_NAME"] = environ["SCRIPT_NAME"].rstrip("/") + before
        return self._app(environ, start_response)


def _is_fixed(environ: "WSGIEnvironment") -> bool:
    """Return whether the application around this one has taken the header already, with a ProxyFix of its own."""
    original = environ.get("werkzeug.proxy_fix.orig")
    prefix = environ.get("HTTP_X_FORWARDED_PREFIX", "").rpartition(",")[2].strip()
    return bool(original and prefix and environ.get("SCRIPT_NAME", "").startswith(prefix))
