"""Signatures of callbacks: the specification's example, and what its own library accepts."""

from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from taskqueue.errors import InvalidSetting
from taskqueue.run.builtin._signing import Signing

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "A" * 44


def test_it_is_that_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    headers = Signing.read({"CALLBACK_SIGNING": KEY}).headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), body
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_keys_sign_while_they_are_exchanged() -> None:
    single, both = (Signing.read({"CALLBACK_SIGNING": keys}) for keys in (KEY, f"{OTHER} {KEY}"))
    now = datetime.now(UTC)
    headers = both.headers("id", now, b'{"text": "\xc3\xbc"}')
    signatures = headers["webhook-signature"].split()
    assert len(signatures) == 2
    assert signatures[1] == single.headers("id", now, b'{"text": "\xc3\xbc"}')["webhook-signature"]
    for key in (KEY, OTHER):
        assert Webhook(key).verify(b'{"text": "\xc3\xbc"}', headers) == {"text": "ü"}


def test_without_a_key_nothing_is_signed() -> None:
    assert Signing.read({}).headers("id", datetime.now(UTC), b"x").keys() == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize(
    "value", ["hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_hunter2hunter2!", f"{KEY} hunter2"]
)
def test_a_bad_key_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(InvalidSetting, match="CALLBACK_SIGNING must be whsec_ and 24 to 64 bytes") as refused:
        Signing.read({"CALLBACK_SIGNING": value})
    assert "hunter2" not in str(refused.value)
