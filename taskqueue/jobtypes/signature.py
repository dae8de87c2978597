"""Reads a function's signature as the contract of its payload (JSON in) and its result (JSON out)."""

import inspect
import json
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from taskqueue.errors import PayloadError
from taskqueue.hooks.needs import Needs
from taskqueue.jobtypes.json_text import encode
from taskqueue.jobtypes.revealing import revealed

NO_SUCH_FIELD = "There is no such field; take it out"
Json = Any  # what `json.loads` returns; every more exact type is tedious to use
WITH_JSON_FORM = "str, int, float, bool, date, a list or dict of these, a dataclass, a TypedDict, a pydantic model"


class SignatureError(Exception):
    """A signature has no JSON form. The message says which part, and how to fix it."""


class Signature:
    """What a function takes and returns, as JSON.

    `schema` is the JSON Schema (2020-12) of the payload; `result_schema` is that of the result, or None if the
    function has no return annotation. `needs` are the parameters that the worker fills: they are no fields.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Raises `SignatureError`."""
        hints = _type_hints(function)
        self.needs = _needs(function, hints)
        for name in self.needs:
            hints.pop(name, None)
        try:
            self._model = _payload_model(function, hints, self.needs)
            self.schema: Json = self._model.model_json_schema()
            self.result_schema: Json = None
            self._result: TypeAdapter[Any] | None = None
            if "return" in hints:
                self._result = TypeAdapter(hints["return"])
                self.result_schema = self._result.json_schema(mode="serialization")
        except (PydanticUserError, PydanticSchemaGenerationError) as error:
            raise SignatureError(_without_json_form(hints) or _first_line(error)) from error
        self.schema.pop("title", None)

    def arguments(self, payload: Json) -> dict[str, Any]:
        """Return the keyword arguments in a payload, in the types of the signature.

        Raises `pydantic.ValidationError`; `payload_errors` describes it without the values.
        """
        model: BaseModel = self._model.__pydantic_validator__.validate_python(payload)
        # Not by attribute: a field may be called `model_extra`.
        return model.__dict__ | (model.__pydantic_extra__ or {})

    def payload(self, positional: Sequence[Any], named: Mapping[str, Any]) -> Json:
        """Return the payload of a call with these arguments, whose values have the types of the signature.

        It is the inverse of `arguments`, which must still validate it: a value of a wrong type is written as it
        is. Raises TypeError for more positional arguments than parameters, or for an argument that is given
        twice; ValueError for a value without a JSON form.
        """
        fields = list(self._model.model_fields)
        if len(positional) > len(fields):
            raise TypeError(f"it takes {len(fields)} positional arguments, got {len(positional)}")
        values = dict(zip(fields, positional, strict=False))
        if twice := values.keys() & named.keys():
            raise TypeError(f"it got two values for {', '.join(sorted(twice))}")
        values |= named
        # Not `model_construct`: a field may be called `cls`, and a field that is not given must stay out.
        call = self._model.__new__(self._model)
        known = {name: values.pop(name) for name in fields if name in values}
        takes_more = self._model.model_config["extra"] == "allow"
        object.__setattr__(call, "__dict__", known)
        object.__setattr__(call, "__pydantic_fields_set__", set(known))
        object.__setattr__(call, "__pydantic_extra__", values if takes_more else None)
        object.__setattr__(call, "__pydantic_private__", None)
        payload = revealed(self._model.__pydantic_serializer__, call)
        return payload if takes_more else payload | dict.fromkeys(values)  # unknown names are refused by name

    def result_value(self, result: Json) -> Any:
        """Return a stored result in the type that the function returns; raises `pydantic.ValidationError`."""
        return result if self._result is None else self._result.validate_json(encode(result))

    @staticmethod
    def result_text(value: Any) -> str:
        """Return a function's return value as JSON text. Raises ValueError, TypeError if it has no JSON form."""
        # It need not match the return annotation: any value with a JSON form is a result.
        plain = to_jsonable_python(value, inf_nan_mode="constants")
        text = encode(plain)
        if "\\ud" in text:  # perhaps half of a surrogate pair
            _refuse_surrogates(plain)
        return text


def _refuse_surrogates(plain: Json) -> None:
    try:
        json.dumps(plain, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"UTF-8 has no {error.object[error.start]!r}, which os.listdir returns in a file name that is not"
            " UTF-8; use os.fsencode(name).decode(errors='replace')"
        ) from error


def payload_errors(error: ValidationError, payload: Json) -> list[PayloadError]:
    """Return pydantic's errors in our form, without the values: a payload may contain secrets."""
    return [
        PayloadError(pointer=_pointer(detail["loc"], payload), message=_sentence(detail["type"], detail["msg"]))
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def option_errors(error: ValidationError) -> list[PayloadError]:
    """Return pydantic's errors of options, or of a document that has them, in our form, without the values."""
    return [
        PayloadError(_as_pointer(detail["loc"]), detail["msg"].removeprefix("Value error, "))
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _sentence(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return NO_SUCH_FIELD
        case "missing":
            return "This field is required"
        case "model_type" | "model_attributes_type":
            return "The payload must be a JSON object"
    return message.removeprefix("Value error, ")


def _pointer(location: tuple[int | str, ...], payload: Json) -> str:
    """Return the JSON Pointer of a place, without the members of unions that pydantic names between the fields."""
    parts, value = [], payload
    for depth, part in enumerate(location):
        if isinstance(value, str):
            break  # an index would find a character
        try:
            value = value[part]
        except (LookupError, TypeError):
            if (depth and depth < len(location) - 1) or not isinstance(value, dict):
                continue
        parts.append(part)
    return _as_pointer(parts)


def _as_pointer(parts: Iterable[int | str]) -> str:
    """Return a JSON Pointer (RFC 6901)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SignatureError(f"it names a type that its file does not import: {error}") from error


def _needs(function: Callable[..., Any], hints: dict[str, Any]) -> dict[str, Needs]:
    """Return the needs among the parameters, such as `db: Session = needs(session)`."""
    needs: dict[str, Needs] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint: Any = hints.get(name)
        marks = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
        for mark in (*marks, parameter.default):
            if isinstance(mark, Needs):
                needs[name] = mark
    return needs


def _payload_model(
    function: Callable[..., Any], hints: dict[str, Any], left_out: typing.Container[str]
) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    extra: typing.Literal["forbid", "allow"] = "forbid"
    for name, parameter in inspect.signature(function).parameters.items():
        if name in left_out:
            continue
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise SignatureError(f"parameter {name!r} has no name in a JSON object; take out `*args` or the `/`")
        if name.startswith("_"):
            raise SignatureError(f"parameter {name!r} cannot be a field; begin its name with a letter")
        if name == "model_config":
            raise SignatureError("parameter 'model_config' cannot be a field, since pydantic uses it; rename it")
        if name in ("self", "cls") and name not in hints:
            raise SignatureError("a job type is a plain function, not a method; take it out of its class")
        if name not in hints:
            raise SignatureError(f"parameter {name!r} has no type; write `{name}: str`, or what it is")
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
            fields["__pydantic_extra__"] = (dict[str, hints[name]], ...)  # type: ignore[valid-type]
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints[name], default)

    extra_type = fields.pop("__pydantic_extra__", None)
    base = type(
        "Payload",
        (BaseModel,),
        {
            "__module__": function.__module__,
            "__annotations__": {"__pydantic_extra__": extra_type[0]} if extra_type else {},
            "model_config": ConfigDict(extra=extra, protected_namespaces=(), validate_default=False),
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a field may have the name `copy` or `json`
        return create_model(function.__name__, __base__=base, **fields)


def _without_json_form(hints: dict[str, Any]) -> str:
    """Return which of the types has no JSON form, and why; "" if each of them has one by itself."""
    for name, hint in hints.items():
        part = "what it returns" if name == "return" else f"parameter {name!r}"
        try:
            TypeAdapter(hint).json_schema(mode="serialization" if name == "return" else "validation")
        except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
            return f"{part} has a type without a JSON form; types with one are {WITH_JSON_FORM}"
        except PydanticUserError as error:
            return f"{part}: {_first_line(error)}"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
