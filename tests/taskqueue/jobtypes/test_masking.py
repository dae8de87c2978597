"""Secrets of a signature are masked wherever they are in the payload; all other values stay unchanged."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr

from taskqueue.jobtypes.masking import MASK, Masking
from taskqueue.jobtypes.signature import Json, Signature


class Account(BaseModel):
    kind: Literal["account"] = "account"
    user: str
    password: SecretStr
    next: "Account | None" = None


class Free(BaseModel):
    kind: Literal["free"]


def one(password: SecretStr, user: str = "") -> None: ...
def optional(password: SecretBytes | None = None) -> None: ...
def in_a_model(account: Account) -> None: ...
def in_a_list(passwords: list[SecretStr]) -> None: ...
def in_a_tuple(pair: tuple[str, SecretStr]) -> None: ...
def in_an_object(passwords: dict[str, SecretStr]) -> None: ...
def in_a_union(account: Annotated[Free | Account, Field(discriminator="kind")]) -> None: ...
def extra(user: str, **passwords: SecretStr) -> None: ...
def marked(code: Annotated[int, Field(json_schema_extra={"writeOnly": True})]) -> None: ...
def none(user: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "payload", "shown"),
    [
        (one, {"password": "p", "user": "u"}, {"password": MASK, "user": "u"}),
        (one, {"password": {"not": "a string"}, "more": 1}, {"password": MASK, "more": 1}),
        (optional, {"password": None}, {"password": MASK}),
        (in_a_model, {"account": {"user": "u", "password": "p"}}, {"account": {"user": "u", "password": MASK}}),
        (
            in_a_model,
            {"account": {"user": "u", "next": {"user": "v", "password": "p"}}},
            {"account": {"user": "u", "next": {"user": "v", "password": MASK}}},
        ),
        (in_a_list, {"passwords": ["p", "q"]}, {"passwords": [MASK, MASK]}),
        (in_a_tuple, {"pair": ["u", "p"]}, {"pair": ["u", MASK]}),
        (in_an_object, {"passwords": {"a": "p"}}, {"passwords": {"a": MASK}}),
        (
            in_a_union,
            {"account": {"kind": "account", "password": "p"}},
            {"account": {"kind": "account", "password": MASK}},
        ),
        (extra, {"user": "u", "b": "p"}, {"user": "u", "b": MASK}),
        (marked, {"code": 1234}, {"code": MASK}),
        (none, {"user": "u"}, {"user": "u"}),
    ],
)
def test_secrets_are_masked(function: object, payload: Json, shown: Json) -> None:
    assert Masking(Signature(function).schema)(payload) == shown  # type: ignore[arg-type]
