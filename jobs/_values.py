"""Converts the values of a feed to what a column of `sync` can hold exactly."""

import json
import math
import re
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
NOT_A_NUMBER = re.compile(r"nan|[+-]?inf(inity)?", re.IGNORECASE)
BEYOND_MICROSECONDS = re.compile(r"[.,][0-9]{6}[0-9]*[1-9]")
MAX_DIGITS = 1000  # of a whole number; PostgreSQL's numeric takes more, nobody's feed has them
BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class DoesNotFit(ValueError):
    """The value is not what the column holds. The message gives the reason, and never the value."""


def for_column(value: Any, kind: sa.types.TypeEngine[Any], *, sqlite: bool, untyped: bool) -> Any:
    """Return a value of a feed as a column of type `kind` holds it. Raises `DoesNotFit`.

    For SQLite that is what its driver takes. For PostgreSQL it is what `as_json` takes: `json_populate_recordset`
    makes the column's type of it. `untyped`: the feed is CSV, so every value is text.
    """
    if value is None:
        return None
    if isinstance(kind, sa.String):
        return value if isinstance(value, str) else as_json(value)
    if isinstance(value, str) and value.strip() == "" and (untyped or not isinstance(kind, sa.JSON)):
        return None  # CSV has no other null
    if isinstance(kind, sa.JSON):
        return _json(value, sqlite=sqlite, untyped=untyped)
    if isinstance(kind, sa.ARRAY) and isinstance(value, list):
        return [
            for_column(each, kind if isinstance(each, list) else kind.item_type, sqlite=sqlite, untyped=untyped)
            for each in value
        ]
    text = value.strip() if isinstance(value, str) else as_json(value)
    try:
        match kind:
            case sa.Boolean():
                return _boolean(text)
            case sa.Integer():
                return _whole(text, sqlite=sqlite)
            case sa.Numeric() | sa.Float():
                return _number(text, kind, sqlite=sqlite)
            case sa.DateTime():
                return _datetime(text, kind, sqlite=sqlite)
            case sa.Time():
                return _time(text, kind, sqlite=sqlite)
            case sa.Date():
                return date.fromisoformat(text).isoformat()
            case sa.Uuid():
                return str(UUID(text))
            case sa.LargeBinary() if sqlite:
                return text.encode()
    except DoesNotFit:
        raise
    except (ValueError, ArithmeticError):
        raise DoesNotFit(f"it is not a {type(kind).__name__.lower()}") from None
    # PostgreSQL itself reads all other types from text, and rows of a composite type from objects.
    return text if sqlite or isinstance(value, str) else value


def kind_of(value: Any) -> str:
    """Return what kind of value the feed has, for an error that must not show the value itself."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return f"text of {len(value):,} characters"
        case int() | Decimal() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"


def as_json(value: Any) -> str:
    """Return JSON in which every number has the digits that it had in the feed."""
    match value:
        case Decimal():  # json makes no number of it
            return str(value)
        case dict():
            fields = (f"{json.dumps(name, ensure_ascii=False)}: {as_json(each)}" for name, each in value.items())
            return "{" + ", ".join(fields) + "}"
        case list():
            return "[" + ", ".join(map(as_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _json(value: Any, *, sqlite: bool, untyped: bool) -> Any:
    if untyped:
        try:
            value = json.loads(value, parse_float=Decimal)
        except (ValueError, RecursionError):
            raise DoesNotFit("it is not JSON") from None
    return as_json(value) if sqlite else value


def _boolean(text: str) -> bool:
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise DoesNotFit("it is neither true nor false") from None


def _decimal(text: str) -> Decimal:
    if not NUMBER.fullmatch(text):
        with_comma = re.fullmatch(r"[+-]?[0-9.]+,[0-9]+", text)
        raise DoesNotFit("it is a number with a comma, not a point" if with_comma else "it is not a number")
    return Decimal(text)


def _whole(text: str, *, sqlite: bool) -> int:
    number = _decimal(text)
    if number and not -1 < number.adjusted() < MAX_DIGITS:
        raise DoesNotFit("it is not a whole number that the column can hold")
    if number != number.to_integral_value():
        raise DoesNotFit("it is not a whole number")
    if sqlite and not -(2**63) <= number < 2**63:
        raise DoesNotFit("it is too large")
    return int(number)


def _number(text: str, kind: sa.Numeric[Any] | sa.Float[Any], *, sqlite: bool) -> Any:
    if NOT_A_NUMBER.fullmatch(text) and not sqlite:  # SQLite would store NULL
        return text
    number = _decimal(text)
    is_float = isinstance(kind, sa.Float)
    if sqlite or is_float:
        # A float rounds fractions, as everybody expects of it, but a whole number must stay what it is.
        nearest = _float(number, single=not sqlite and isinstance(kind, sa.REAL))
        is_whole = abs(number.adjusted()) < MAX_DIGITS and number == number.to_integral_value()
        if sqlite and not is_float and is_whole and -(2**63) <= number < 2**63:
            return int(number)
        exact = Decimal(nearest) if is_whole or math.isinf(nearest) else Decimal(repr(nearest))
        if exact != number and (is_whole or math.isinf(nearest) or not is_float):
            raise DoesNotFit("it has more digits than the column can hold")
        return nearest if sqlite else number
    exponent = number.normalize().as_tuple().exponent
    if (
        isinstance(kind, sa.Numeric)
        and kind.scale is not None
        and isinstance(exponent, int)
        and -exponent > kind.scale
    ):
        raise DoesNotFit(f"it has more than {kind.scale} digits after the point")
    return number


def _digits_after_the_point(number: Decimal) -> int:
    _, digits, exponent = number.as_tuple()  # Decimal.normalize would round to 28 digits
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return -int(exponent) - zeros


def _float(number: Decimal, *, single: bool) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0]) if single else float(number)
    except OverflowError:
        return math.inf


def _datetime(text: str, kind: sa.DateTime, *, sqlite: bool) -> str:
    instant = datetime.fromisoformat(text)
    _check_fraction(text, instant.microsecond, kind)
    if instant.tzinfo and (sqlite or not kind.timezone):  # the column has no offset: its times are in UTC
        instant = instant.astimezone(UTC).replace(tzinfo=None)
    return instant.isoformat(" ", "microseconds")


def _time(text: str, kind: sa.Time, *, sqlite: bool) -> str:
    of_day = time.fromisoformat(text)
    _check_fraction(text, of_day.microsecond, kind)
    if of_day.tzinfo and (sqlite or not kind.timezone):
        of_day = datetime.combine(date(2000, 1, 1), of_day).astimezone(UTC).time()
    return of_day.isoformat("microseconds")


def _check_fraction(text: str, microsecond: int, kind: sa.types.TypeEngine[Any]) -> None:
    precision = getattr(kind, "precision", None)
    too_fine = precision is not None and microsecond % 10 ** (6 - precision)
    if too_fine or BEYOND_MICROSECONDS.search(text):
        raise DoesNotFit("its fraction of a second has more digits than the column can hold")
