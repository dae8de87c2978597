"""JSON as it is stored: ASCII, and no NaN."""

import json
import json.encoder
from collections.abc import Iterator
from typing import Any


class _Encoder(json.JSONEncoder):
    """A `JSONEncoder` that reuses its C encoder; Python creates a new one for each call."""

    def __init__(self) -> None:
        super().__init__(allow_nan=False)
        # It is None where Python has no C encoder; typeshed does not list it.
        make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        text, separators = json.encoder.encode_basestring_ascii, (": ", ", ")
        self._encode = make and make(None, self.default, text, None, *separators, False, False, False)

    def iterencode(self, o: Any, _one_shot: bool = False) -> Iterator[str]:
        parts: Iterator[str] = self._encode(o, 0) if self._encode else super().iterencode(o, _one_shot)
        return parts


encode = _Encoder().encode
"""Return a value as JSON text. Raises TypeError or ValueError for a value without a JSON form, RecursionError."""
