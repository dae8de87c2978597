"""Where a web process spends its time: py-spy's samples of its stacks, by layer."""

import re
import subprocess
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from systems import ENVIRONMENTS, System

SAMPLES_A_SECOND = 200
PY_SPY = System(name="py-spy", app="py-spy", worker=(), queue="", packages=("py-spy",))
# The innermost frame of a stack that belongs to a layer decides: a send counts for the one that sends.
LAYERS = {
    "keep-alive: time limits of heads": r"gevent/timeout\.py|serve/deadlines\.py|_HeadLimit|timeout_ctx",
    "access log": r"glogging\.py|logging/__init__\.py|telemetry/log\.py|access_log\.py|gunicorn_conf\.py",
    "gunicorn reads the request": r"gunicorn/http/(message|parser|unreader|body)\.py",
    "gunicorn sends the answer": (
        r"(start_response|process_headers|default_headers|send_headers|_send_head|write|_emit_body|should_close"
        r"|is_chunked|is_hoppish|http_date|close) \((gunicorn/(http/wsgi|util)|taskqueue/serve/response)\.py"
    ),
    "gunicorn makes the environ": r"gunicorn/http/wsgi\.py",
    "the call to Redis": r"redis/|taskqueue/store/",
    "the job: validate, hash, answer": r"taskqueue/(enqueue|jobtypes|tasks|monitor)/",
    "Werkzeug": r"werkzeug/",
    "Flask": r"flask/",
    "hooks of web/http": r"taskqueue/(web/http|telemetry)/",
    "the view, or the short way": r"taskqueue/web/",
    "gunicorn's loop": r"gunicorn/|taskqueue/serve/",
}
_LAYERS = {name: re.compile(pattern) for name, pattern in LAYERS.items()}


def shares(pid: int, seconds: int) -> dict[str, float]:
    """Sample a process and return the part of its work that each layer does."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        options = ("-f", "raw", "-r", str(SAMPLES_A_SECOND), "-d", str(seconds), "-o", str(file))
        py_spy = ENVIRONMENTS / PY_SPY.app / "bin" / "py-spy"
        subprocess.run([str(py_spy), "record", *options, "-p", str(pid)], check=True, capture_output=True)
        counts = Counter[str]()
        for line in file.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if layer := _layer(stack):
                counts[layer] += int(count)
    return {name: count / counts.total() for name, count in counts.items()}


def _layer(stack: str) -> str | None:
    """Return the layer of a stack. None: gevent's own loop, of which nobody can tell work from waiting."""
    for frame in reversed(stack.split(";")):
        for name, pattern in _LAYERS.items():
            if pattern.search(frame):
                return name
    return None
