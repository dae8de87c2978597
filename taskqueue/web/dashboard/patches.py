"""rq-dashboard's templates, with what is wrong in them mended: text for text, and never silently missed.

Its pages are made in the browser, by underscore.js templates: `<%=` puts text in as it is, `<%-` escapes it.
"""

from pathlib import Path

import rq_dashboard
from jinja2 import DictLoader

THEIRS = Path(rq_dashboard.__file__).parent / "templates"
OURS = Path(__file__).parent / "templates"

MENDS = {
    "base.html": (
        # Only scripts with this answer's nonce run: guard.POLICY.
        ('type="text/javascript"', 'nonce="{{ csp_nonce }}"'),
        # Its own icon, not the application's.
        ("url_for('static', filename='favicon.ico')", "url_for('rq_dashboard.static', filename='favicon.ico')"),
        # It keeps to itself what went wrong.
        ("{% block content_scripts %}", '{% include "dashboard/notices.js" %}\n{% block content_scripts %}'),
    ),
    "job.html": (
        ("JSON.stringify(d.result, null, 2)", "d.result"),  # shown.ShownJob has made it text
    ),
    "jobs.html": (
        # Escaped by hand, where <%- would do it again.
        ("$('<div/>').text(d.description).html()", "d.description"),
        ("$('<div/>').text(d.exc_info).html()", "d.exc_info"),
        ("contains all the queued jobs", "contains all the {{ registry_name }} jobs"),
    ),
    # A queue's name, from the address, inside a script: .js is not escaped by Jinja.
    "scripts/jobs.js": (("'{{ queue.name }}'", "{{ queue.name|tojson }}"),),
    # The day alone is not enough to find a job in a log.
    "scripts/dashboard.js": (("d.format()", "d.format('{yyyy}-{MM}-{dd} {HH}:{mm}:{ss}')"),),
    # One failed request ended the refreshing of the page.
    "scripts/job.js": (
        ("if (err) {\n                return;", "if (err) {\n                return done && done();"),
    ),
}


def loader() -> DictLoader:
    """All templates of the dashboard. Raises RuntimeError if rq-dashboard's have changed."""
    sources = {file.relative_to(THEIRS).as_posix(): _mended(file) for file in THEIRS.rglob("*.*")}
    sources |= {f"dashboard/{file.name}": file.read_text() for file in OURS.iterdir()}
    return DictLoader(sources)


def _mended(file: Path) -> str:
    source = file.read_text()
    for old, new in MENDS.get(file.relative_to(THEIRS / "rq_dashboard").as_posix(), ()):
        if old not in source:
            raise RuntimeError(f"rq-dashboard's {file.name} has changed: look at web/dashboard/mended.py again")
        source = source.replace(old, new)
    return source.replace("<%=", "<%-")
