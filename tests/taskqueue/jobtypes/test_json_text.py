"""The JSON that is stored: what Python's own encoder writes, and refuses."""

import json
from datetime import date
from typing import Any

import pytest

from taskqueue.jobtypes.json_text import encode

NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, -0.0, 1e300, None, True, {}, []], "b": {'é\n"': "\ud800"}},
        "text",
        3,
        1.5,
        None,
        {1: 2, False: 3},
        (1, 2),
    ],
)
def test_it_writes_what_pythons_encoder_writes(value: Any) -> None:
    assert encode(value) == json.dumps(value, allow_nan=False)
    assert encode(value).isascii()


@pytest.mark.parametrize(
    "value", [float("nan"), {"a": float("inf")}, {"a": date(2026, 1, 2)}, {(1, 2): 3}, b"bytes"]
)
def test_it_refuses_what_has_no_json_form_in_the_same_words(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as pythons:
        json.dumps(value, allow_nan=False)
    for _ in range(2):  # the encoder is kept: a refusal leaves nothing behind
        with pytest.raises(pythons.type) as ours:
            encode(value)
        assert str(ours.value) == str(pythons.value)
    assert encode([1]) == "[1]"


def test_it_refuses_a_value_that_is_nested_too_deeply() -> None:
    with pytest.raises(RecursionError):
        encode(NESTED)
