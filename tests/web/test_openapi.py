"""The API document, made from the code, and its page."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from taskqueue.job_types import JobTypes
from taskqueue.keys import new_key
from taskqueue.settings import Settings
from tests.web.conftest import served
from web import create_app
from web.dashboard import PREFIX
from web.openapi.example import payload_example


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    response = client.get("/openapi.json")
    assert response.status_code == 200
    return dict(response.get_json())


def test_every_address_is_in_it(app: Flask, document: dict[str, Any]) -> None:
    rules = {rule.rule.replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()}
    dashboard = {rule for rule in rules if rule.startswith(PREFIX)}
    assert set(document["paths"]) == rules - dashboard - {"/static/{path:filename}"}


def test_what_can_be_posted_is_in_it_with_examples(document: dict[str, Any]) -> None:
    post = document["paths"]["/tasks"]["post"]
    types = next(one["schema"]["enum"] for one in post["parameters"] if one["name"] == "task_type")
    body = post["requestBody"]["content"]["application/json"]
    assert {"email", "resize", "login"} <= set(types)
    assert body["examples"]["week"]["value"] == {"of": "2026-11-24"}
    assert body["examples"]["login"]["value"]["password"] == "**********"
    assert {"$ref": "#/components/schemas/payload.email"} in body["schema"]["anyOf"]


def test_what_is_posted_after_an_example_is_taken(client: FlaskClient, job_types: JobTypes) -> None:
    examples = {name: payload_example(job_type) for name, job_type in job_types.items()}
    assert examples["email"]
    for name, example in examples.items():
        if example is not None:
            assert client.post(f"/tasks?task_type={name}", json=example).status_code == 202, name


class TestWithKeys:
    @pytest.fixture
    def locked(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        self.secret, key = new_key("mailer", "read", ["email"])
        return create_app(replace(settings, api_keys=(key,)), job_types).test_client()

    def test_it_says_so_and_what_scope_each_address_needs(self, locked: FlaskClient) -> None:
        told = locked.get("/openapi.json", headers={"Authorization": f"Bearer {self.secret}"}).get_json()
        assert told["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
        post = told["paths"]["/tasks"]["post"]
        assert post["security"] == [{"key": []}]
        assert "`submit`" in post["description"]
        assert {"401", "403"} <= set(post["responses"])
        assert "security" not in told["paths"]["/health"]["get"]

    def test_it_has_the_job_types_of_the_key_alone(self, locked: FlaskClient) -> None:
        told = locked.get("/openapi.json", headers={"Authorization": f"Bearer {self.secret}"})
        assert "payload.email" in told.text
        assert "payload.generic" not in told.text

    def test_a_browser_asks_its_user_for_the_key(self, locked: FlaskClient) -> None:
        refused = locked.get("/docs", headers={"Accept": "text/html,*/*;q=0.8"})
        assert refused.status_code == 401
        assert [value.split()[0] for value in refused.headers.getlist("WWW-Authenticate")] == ["Bearer", "Basic"]
        assert locked.get("/docs", auth=("mailer", self.secret)).status_code == 200
        assert locked.get("/docs", auth=("other", self.secret)).status_code == 401

    def test_what_a_browser_sends_by_itself_changes_nothing(self, locked: FlaskClient) -> None:
        assert locked.post("/tasks?task_type=email", json={}, auth=("mailer", self.secret)).status_code == 401


class TestThePage:
    def test_it_shows_every_address_without_a_word_from_elsewhere(
        self, app: Flask, browser: Chrome, document: dict[str, Any]
    ) -> None:
        with served(app) as site:
            browser.get(f"{site}/docs")
            WebDriverWait(browser, 20).until(lambda page: page.find_elements(By.CLASS_NAME, "opblock"))
            shown = browser.find_elements(By.CLASS_NAME, "opblock-summary-path")
            assert len(shown) == sum(len(methods) for methods in document["paths"].values())
            assert [
                line["message"] for line in browser.get_log("browser")
            ] == []  # such as a refusal of its policy
            browser.get("about:blank")  # no page asks a server that is gone
