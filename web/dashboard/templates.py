"""rq-dashboard's templates, with what they show escaped."""

import re
from collections.abc import Callable

from jinja2 import BaseLoader, Environment

MENDS = [
    # underscore.js: <%= writes as it is, <%- escapes. Where it was escaped by hand, once is enough.
    (re.compile(r"<%=\s*\$\('<div/>'\)\.text\((.*?)\)\.html\(\)\s*%>"), r"<%- \1 %>"),
    (re.compile(r"<%="), "<%-"),
    # A queue's name comes from the address, and stood in a string of the script.
    (re.compile(r"'\{\{ queue\.name \}\}'"), "{{ queue.name|tojson|safe }}"),
    # The one script of each page has this answer's nonce: no other runs (guard.py).
    (re.compile(r'<script type="text/javascript">'), '<script nonce="{{ csp_nonce }}">'),
    (re.compile(r"url_for\('static', filename='favicon\.ico'\)"), "url_for('rq_dashboard.favicon')"),
]


class EscapingLoader(BaseLoader):
    """Loads a template with another loader, and mends it."""

    def __init__(self, loader: BaseLoader | None) -> None:
        assert loader is not None  # noqa: S101  rq-dashboard has a template folder
        self._loader = loader

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """The mended source of a template; see `jinja2.BaseLoader`."""
        source, filename, is_up_to_date = self._loader.get_source(environment, template)
        for found, mended in MENDS:
            source = found.sub(mended, source)
        return source, filename, is_up_to_date

    def list_templates(self) -> list[str]:
        """As the other loader has them."""
        return self._loader.list_templates()
