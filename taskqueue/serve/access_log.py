"""The access log: gunicorn's, without a copy of every header and every variable for each line."""

import logging
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger, SafeAtoms


class AccessLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's log. Any `--access-logformat` works; the project's own takes a third of the time."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one request."""
        log = self.access_log
        if self.access_log_enabled and log.isEnabledFor(logging.INFO):
            atoms = _Atoms(self, resp, req, environ, request_time)
            # As log.info, which would also look for the line of code that calls it.
            log.handle(log.makeRecord(log.name, logging.INFO, "", 0, self.cfg.access_log_format, (atoms,), None))


class _Atoms(dict[str, Any]):
    """What a line may have. All but the frequent atoms are made if the format asks for one."""

    def __init__(self, log: Logger, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        line = f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"
        super().__init__(
            r=line.replace('"', '\\"'),
            s=resp.status.split(None, 1)[0],
            M=request_time.seconds * 1000 + request_time.microseconds // 1000,
            U=environ.get("PATH_INFO"),
        )
        self["{location}o"] = next((value for name, value in resp.headers if name == "Location"), "-")
        self._arguments = (log, resp, req, environ, request_time)

    def __missing__(self, name: str) -> Any:
        log, *arguments = self._arguments
        atoms = SafeAtoms(log.atoms(*arguments))
        return atoms[name]
