"""The application, for the tests of every room that go through HTTP."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from web import create_app


@pytest.fixture
def app(settings: Settings, job_types: JobTypes) -> Iterator[Flask]:
    app = create_app(settings, job_types)
    yield app
    app.extensions["subscriptions"].close()


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    with app.test_client() as client:
        yield client
