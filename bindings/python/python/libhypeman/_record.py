"""What results have in common, and lists of them."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from libhypeman import _html


class Record:
    """What the data types have in common."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form: absent optional fields left out, times in RFC 3339, paths as text."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        text = values.pop("_created_at_text", None)
        if text is not None:
            values["created_at"] = text
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def _repr_html_(self) -> str:
        return _html.properties(type(self).__name__, self.to_dict())


_Result = TypeVar("_Result", bound=Record)


class ResultList(list[_Result]):
    """A list, which a notebook shows as a table."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _html.table([result.to_dict() for result in self])


def _plain(value: Any) -> Any:
    match value:
        case Record():
            return value.to_dict()
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return dict(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case os.PathLike() | StrEnum():
            return str(value)
    return value
