"""A signature as the contract of a payload and a result."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, EmailStr, Field, ValidationError

from taskqueue.errors import PayloadError
from taskqueue.jobtypes.signature import Signature, SignatureError, payload_errors


@dataclass
class Sent:
    id: str


@dataclass
class Point:
    x: int


def send(to: EmailStr, subject: str, at: date | None = None, kind: Literal["a", "b"] = "a") -> Sent:
    return Sent(f"{to} {subject} {at} {kind}")


def anything(**payload: Any) -> dict[str, Any]:
    return payload


def numbers(**amounts: int) -> None:
    """Any field, but numbers only."""


def errors_of(function: Any, payload: Any) -> list[PayloadError]:
    with pytest.raises(ValidationError) as refused:
        Signature(function).arguments(payload)
    return payload_errors(refused.value, payload)


def test_a_payload_becomes_arguments_of_the_annotated_types() -> None:
    arguments = Signature(send).arguments({"to": "a@example.com", "subject": "hi", "at": "2026-11-24"})
    assert arguments == {"to": "a@example.com", "subject": "hi", "at": date(2026, 11, 24), "kind": "a"}


def test_the_schema_names_required_fields_defaults_and_refuses_others() -> None:
    schema = Signature(send).schema
    assert schema["required"] == ["to", "subject"]
    assert schema["properties"]["to"]["format"] == "email"
    assert schema["properties"]["kind"] == {"default": "a", "enum": ["a", "b"], "title": "Kind", "type": "string"}
    assert schema["additionalProperties"] is False


def test_the_result_schema_comes_from_the_return_type() -> None:
    assert Signature(send).result_schema["properties"]["id"]["type"] == "string"


def test_every_error_has_a_pointer_and_a_message() -> None:
    errors = errors_of(send, {"to": "nobody", "subjekt": "hi"})
    assert [error.pointer for error in errors] == ["/to", "/subject", "/subjekt"]
    assert errors[1].message == "This field is required"
    assert errors[2].message == "There is no such field; take it out"


def test_a_pointer_is_escaped_as_rfc_6901_says() -> None:
    assert errors_of(send, {"to": "a@example.com", "subject": "s", "a/b~c": 1})[0].pointer == "/a~1b~0c"


def test_a_pointer_names_fields_and_not_members_of_a_union() -> None:
    def mixed(to: int | list[int]) -> None: ...

    assert {error.pointer for error in errors_of(mixed, {"to": [1, "x"]})} == {"/to", "/to/1"}


@pytest.mark.parametrize("payload", [{"to": "ada"}, {"to": ""}])
def test_a_pointer_does_not_go_into_a_text(payload: Any) -> None:
    one_or_many = Annotated[list[EmailStr], BeforeValidator(lambda to: [to] if isinstance(to, str) else to)]

    def mail(to) -> None: ...  # type: ignore[no-untyped-def]  # the mistake

    mail.__annotations__["to"] = one_or_many
    assert [error.pointer for error in errors_of(mail, payload)] == ["/to"]


def test_an_error_does_not_repeat_the_value() -> None:
    assert "hunter2" not in str(errors_of(send, {"to": "hunter2", "subject": ["hunter2"], "kind": "hunter2"}))


@pytest.mark.parametrize("payload", [[], "text", 1, None])
def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    assert errors_of(anything, payload) == [PayloadError("", "The payload must be a JSON object")]


def test_extra_fields_are_taken_where_the_function_takes_them() -> None:
    payload = {"copy": 1, "json": [2], "model_config": {}, "__x": None, "self": True}
    assert Signature(anything).arguments(payload) == payload


def test_extra_fields_have_the_type_that_the_function_names() -> None:
    assert Signature(numbers).arguments({"a": 1}) == {"a": 1}
    assert errors_of(numbers, {"a": "many"})[0].pointer == "/a"


def test_a_parameter_may_be_called_like_an_attribute_of_pydantic() -> None:
    def odd(copy: int, json: str, schema: str = "s") -> None: ...

    assert Signature(odd).arguments({"copy": 1, "json": "j"}) == {"copy": 1, "json": "j", "schema": "s"}


def test_a_list_as_a_default_is_not_shared_between_calls() -> None:
    def collect(items: list[int] = []) -> None: ...  # noqa: B006

    signature = Signature(collect)
    signature.arguments({})["items"].append(1)
    assert signature.arguments({}) == {"items": []}


def test_a_constraint_is_checked_and_shown() -> None:
    def page(number: Annotated[int, Field(ge=1, description="from 1")]) -> None: ...

    assert errors_of(page, {"number": 0})[0].message == "Input should be greater than or equal to 1"
    assert Signature(page).schema["properties"]["number"]["minimum"] == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Point(1), {"x": 1}),
        (date(2026, 1, 2), "2026-01-02"),
        ((1, 2), [1, 2]),
        (None, None),
        ("😀 \\ud", "😀 \\ud"),
    ],
)
def test_a_result_becomes_json(value: Any, expected: Any) -> None:
    def result() -> Any: ...

    assert json.loads(Signature(result).result_text(value)) == expected


@pytest.mark.parametrize("value", [object(), math.nan, {"a": math.inf}, b"\xff", ["caf\udce9.txt"], {"\ud800": 1}])
def test_a_result_that_json_cannot_say_is_refused(value: Any) -> None:
    def result() -> Any: ...

    with pytest.raises(ValueError, match=r"\w"):
        Signature(result).result_text(value)


def test_a_file_name_that_is_no_unicode_is_refused_with_the_fix() -> None:
    def result() -> Any: ...

    with pytest.raises(ValueError, match=r"UTF-8 has no '\\udce9', .*os\.fsencode"):
        Signature(result).result_text(["caf\udce9.txt"])


def positional(a: int, /) -> None: ...
def starred(*a: int) -> None: ...
def untyped(a) -> None: ...  # type: ignore[no-untyped-def]  # the mistake
def no_json(a: int, b: list[Signature]) -> None: ...
def no_schema(a: Callable[[], int]) -> None: ...
def no_json_result() -> Signature: ...
def method(self, a: int) -> None: ...  # type: ignore[no-untyped-def]  # the mistake
def underscored(_a: int) -> None: ...
def unknown_name(a: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positional, "parameter 'a' has no name in a JSON object"),
        (starred, "parameter 'a' has no name in a JSON object"),
        (untyped, "parameter 'a' has no type; write `a: str`"),
        (no_json, "parameter 'b' has a type without a JSON form; types with one are str, int, .* a dataclass"),
        (no_schema, "parameter 'a' has a type without a JSON form"),
        (no_json_result, "what it returns has a type without a JSON form"),
        (method, "a job type is a plain function, not a method; take it out of its class"),
        (underscored, "parameter '_a' cannot be a field"),
        (unknown_name, "names a type that its file does not import"),
    ],
)
def test_a_signature_without_a_json_form_is_refused_with_the_fix(function: Any, message: str) -> None:
    with pytest.raises(SignatureError, match=message.replace("(", r"\(")):
        Signature(function)


@pytest.mark.parametrize("name", ["self", "cls", "model_extra", "model_fields_set", "copy", "model_dump", "args"])
def test_a_field_may_have_any_name(name: str) -> None:
    scope: dict[str, Any] = {"Any": Any}
    exec(f"def declared({name}: int, **more: Any) -> None: ...", scope)
    for function in (scope["declared"], anything):
        assert Signature(function).arguments({name: 1, "more": 2}) == {name: 1, "more": 2}


def test_a_parameter_that_pydantic_needs_is_refused() -> None:
    def configured(model_config: int) -> None: ...

    with pytest.raises(SignatureError, match="'model_config' cannot be a field"):
        Signature(configured)
