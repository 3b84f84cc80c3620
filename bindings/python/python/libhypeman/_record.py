"""What results have in common, and lists of them."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import datetime, timezone
from enum import StrEnum
from typing import Any, TypeVar

from libhypeman import _html


def moment(text: str) -> datetime:
    """Reads an RFC 3339 time in UTC, to the microsecond."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # A record may name a year before 1, which datetime cannot; it must not hide the records beside it.
        return datetime.min.replace(tzinfo=timezone.utc)


class Record:
    """What the data types have in common."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON form: absent optional fields left out, times in RFC 3339, paths as text."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        text = values.pop("_created_at_text", None)
        # Another time was put into a copy (`dataclasses.replace`): the text is not that one's.
        if text is not None and moment(text) == values["created_at"]:
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
