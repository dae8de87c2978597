"""Patches of rq-dashboard's templates. A patch that no longer applies is an error.

The pages are made in the browser by underscore.js templates: `<%=` inserts text as it is, `<%-` escapes it.
"""

from pathlib import Path

import rq_dashboard
from jinja2 import DictLoader

ORIGINAL = Path(rq_dashboard.__file__).parent / "templates"
OWN = Path(__file__).parent / "templates"

PATCHES = {
    "base.html": (
        # Only scripts with this answer's nonce run: guard.POLICY.
        ('type="text/javascript"', 'nonce="{{ csp_nonce }}"'),
        # rq-dashboard's icon, not the application's.
        ("url_for('static', filename='favicon.ico')", "url_for('rq_dashboard.static', filename='favicon.ico')"),
        # rq-dashboard does not show errors of its requests.
        ("{% block content_scripts %}", '{% include "dashboard/notices.js" %}\n{% block content_scripts %}'),
    ),
    "job.html": (
        ("JSON.stringify(d.result, null, 2)", "d.result"),  # shown.ShownJob has made it text
    ),
    "jobs.html": (
        # Escaped by hand: <%- would escape it twice.
        ("$('<div/>').text(d.description).html()", "d.description"),
        ("$('<div/>').text(d.exc_info).html()", "d.exc_info"),
        ("contains all the queued jobs", "contains all the {{ registry_name }} jobs"),
    ),
    # A queue's name, from the address, inside a script: .js is not escaped by Jinja.
    "scripts/jobs.js": (("'{{ queue.name }}'", "{{ queue.name|tojson }}"),),
    # With the time of day, to find a job in a log.
    "scripts/dashboard.js": (("d.format()", "d.format('{yyyy}-{MM}-{dd} {HH}:{mm}:{ss}')"),),
    # Without this, one failed request ends the refreshing of the page.
    "scripts/job.js": (
        ("if (err) {\n                return;", "if (err) {\n                return done && done();"),
    ),
}


def loader() -> DictLoader:
    """Return all templates of the dashboard. Raises RuntimeError if a patch does not apply."""
    sources = {file.relative_to(ORIGINAL).as_posix(): _patched(file) for file in ORIGINAL.rglob("*.*")}
    sources |= {f"dashboard/{file.name}": file.read_text() for file in OWN.iterdir()}
    return DictLoader(sources)


def _patched(file: Path) -> str:
    source = file.read_text()
    for old, new in PATCHES.get(file.relative_to(ORIGINAL / "rq_dashboard").as_posix(), ()):
        if old not in source:
            raise RuntimeError(f"rq-dashboard's {file.name} has changed: adapt taskqueue/web/dashboard/patches.py")
        source = source.replace(old, new)
    return source.replace("<%=", "<%-")
