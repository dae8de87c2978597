"""How many wrong logins are allowed, from one address and in all."""

from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from taskqueue.jobtypes.registry import JobTypes
from taskqueue.settings import Settings
from taskqueue.settings.api_keys import new_key
from taskqueue.web.http.guesses import FROM_ONE_ADDRESS, IN_ALL, Guesses
from tests.taskqueue.web.conftest import problem
from web import create_app

SECRET, KEY = new_key("ops", "operate")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("taskqueue.web.http.guesses.time", clock)
    return clock


def wrong_until_refused(guesses: Guesses, address: str) -> int:
    count = 0
    while not guesses.seconds_to_wait(address):
        guesses.count_wrong(address, f"guess {uuid4()}")
        count += 1
    return count


class TestTheCount:
    def test_one_address_may_err_ten_times_and_then_each_ten_seconds(self, clock: Clock) -> None:
        guesses = Guesses()
        assert wrong_until_refused(guesses, "192.0.2.1") == FROM_ONE_ADDRESS == 10
        assert guesses.seconds_to_wait("192.0.2.1") == 10
        assert guesses.seconds_to_wait("192.0.2.2") == 0
        clock.seconds += 10
        assert wrong_until_refused(guesses, "192.0.2.1") == 1
        clock.seconds += 1000
        assert wrong_until_refused(guesses, "192.0.2.1") == 10

    def test_all_addresses_together_may_err_a_hundred_times_and_then_each_second(self, clock: Clock) -> None:
        guesses = Guesses()
        for number in range(IN_ALL):
            assert guesses.seconds_to_wait(f"address {number}") == 0
            guesses.count_wrong(f"address {number}", "guess")
        assert guesses.seconds_to_wait("a new one") == 1
        clock.seconds += 1
        assert guesses.seconds_to_wait("a new one") == 0

    def test_the_same_guess_again_does_not_count(self, clock: Clock) -> None:
        guesses = Guesses()
        for _ in range(1000):
            guesses.count_wrong("192.0.2.1", "old password")
        assert guesses.seconds_to_wait("192.0.2.1") == 0

    def test_memory_is_bounded(self, clock: Clock) -> None:
        guesses = Guesses()
        for number in range(10_000):
            clock.seconds += guesses.seconds_to_wait(f"address {number}")
            guesses.count_wrong(f"address {number}", "guess")
        assert len(guesses._addresses) < 500


class TestTheDashboard:
    @pytest.fixture
    def client(self, settings: Settings, job_types: JobTypes) -> FlaskClient:
        locked = Settings(redis_url=settings.redis_url, dashboard_auth=("me", "right"), api_keys=(KEY,))
        return create_app(locked, job_types).test_client()

    def test_a_right_password_is_refused_like_a_wrong_one(self, client: FlaskClient) -> None:
        answers = [client.get("/rq/", auth=("me", f"wrong {number}")) for number in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        right = client.get("/rq/", auth=("me", "right"))
        assert (right.status_code, right.data) == (429, answers[-1].data)
        assert 8 <= int(right.headers["Retry-After"]) <= 10
        assert "WWW-Authenticate" not in right.headers

    def test_other_addresses_and_valid_keys_are_not_refused(self, client: FlaskClient) -> None:
        for number in range(11):
            client.get("/rq/", auth=("me", f"wrong {number}"))
        elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
        assert client.get("/rq/", auth=("me", "right"), environ_base=elsewhere).status_code == 200
        assert client.get("/rq/", auth=("ops", SECRET)).status_code == 200
        assert client.get("/rq/").status_code == 401  # no login is no guess

    def test_addresses_of_one_ipv6_network_count_together_and_mapped_ones_do_not(
        self, client: FlaskClient
    ) -> None:
        def statuses(*addresses: str) -> list[int]:
            return [
                client.get("/rq/", auth=("me", address), environ_base={"REMOTE_ADDR": address}).status_code
                for address in addresses
            ]

        assert statuses(*(f"2001:db8::{number}" for number in range(11)))[-1] == 429
        assert statuses(*(f"::ffff:192.0.2.{number}" for number in range(11))) == [401] * 11
        assert statuses("2001:db8:0:1::1", "") == [401, 401]


def test_wrong_keys_are_bounded_and_valid_ones_always_taken(settings: Settings, job_types: JobTypes) -> None:
    client = create_app(Settings(redis_url=settings.redis_url, api_keys=(KEY,)), job_types).test_client()
    answers = [client.get("/tasks", headers={"Authorization": f"Bearer tq_{number}"}) for number in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    assert problem(answers[-1], 429)["type"] == "urn:problem:too-many-guesses"
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert client.get("/tasks", headers={"Authorization": f"Bearer {SECRET}"}).status_code == 200
    assert client.get("/tasks").status_code == 401
