"""Fixtures of the console's tests: clients that have signed in, and the forms of a page."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import ApiKey, new_key
from web import create_app

KEYS: dict[str, tuple[str, ApiKey]] = {
    "ops": new_key("ops", "operate"),
    "reader": new_key("reader", "read"),
    "mailer": new_key("mailer", "operate", ["email"]),
}
SignIn = Callable[[str], FlaskClient]


class Page:
    """A page of the console, and its forms."""

    def __init__(self, client: FlaskClient, response: TestResponse) -> None:
        self._client = client
        self.status, self.text, self.headers = response.status_code, response.text, response.headers

    @property
    def token(self) -> str:
        """The token of the page's forms."""
        match = re.search(r'name="form_token" value="([^"]*)"', self.text)
        assert match, self.text
        return match.group(1)

    def post(self, address: str, **fields: str) -> "Page":
        """Send a form of this page; follow the redirect to the next page."""
        data = {"form_token": self.token} | fields
        return Page(self._client, self._client.post(address, data=data, follow_redirects=True))


def page(client: FlaskClient, address: str) -> Page:
    return Page(client, client.get(address))


@pytest.fixture
def locked(settings: Settings) -> Settings:
    return replace(settings, api_keys=tuple(key for _, key in KEYS.values()))


@pytest.fixture
def sign_in(locked: Settings, job_types: JobTypes) -> SignIn:
    """Return a client that has signed in with one of KEYS; each client is another browser."""
    app = create_app(locked, job_types)

    def signed_in(name: str) -> FlaskClient:
        client = app.test_client()
        answer = page(client, "/console/sign-in").post("/console/sign-in", secret=KEYS[name][0])
        assert answer.status == 200, answer.text
        return client

    return signed_in
