"""Groups failures by what they have in common: the job type, the type of error, its message without details."""

import hashlib
import re

from taskqueue.tasks.task import error_of

MAX_MESSAGE_CHARACTERS = 200

_DETAILS = (
    (re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "URL"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"), "EMAIL"),
    (re.compile(r"\b(?:0x)?(?=[a-f-]*\d)[0-9a-f]{2}[0-9a-f-]{6,}\b", re.IGNORECASE), "ID"),
    # Three digits alone are most often a status code: failures with different ones are different.
    (re.compile(r"(?<![\w.])(?!\d{3}(?![\w.]))\d[\d.,:]*\d|(?<![\w.])\d(?![\w.])"), "N"),
)


def without_details(message: str) -> str:
    """Return a message without numbers, ids, URLs: "row 17 is bad" and "row 4 is bad" give "row N is bad"."""
    message = " ".join(message[: 4 * MAX_MESSAGE_CHARACTERS].split())
    for pattern, word in _DETAILS:
        message = pattern.sub(word, message)
    return message[:MAX_MESSAGE_CHARACTERS]


def failure_text(job_type: str, traceback: str) -> str:
    """Return what a failed job's hash keeps of its failure: "<group> <job type> <type of error> <message>"."""
    kind, message = error_of(traceback)
    text = f"{job_type} {kind} {without_details(message)}"
    return f"{hashlib.sha256(text.encode()).hexdigest()[:12]} {text}"
