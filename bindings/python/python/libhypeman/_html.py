"""How results look in a notebook: tables, and a picture of a memory image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

# The picture, in pixels; one column of it is the least that is drawn of an image.
_COLUMNS = 480
_HEIGHT = 24
# Told apart without colours, too: by how dark they are.
_COLOURS = {"data": "#1f5fa8", "zero": "#9cc3e6", "hole": "#eeeeee"}
_TITLES = {"data": "data", "zero": "zeros, stored in next to no space", "hole": "hole, which occupies no space"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_CELL = ' style="text-align:left"'


def properties(title: str, values: Mapping[str, Any]) -> str:
    """A table of the names and values of one result."""
    lines = [f"<tr><th{_CELL}>{_text(name)}</th>{_cell(name, value)}</tr>" for name, value in values.items()]
    return f"<table><caption>{_text(title)}</caption>{''.join(lines)}</table>"


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """A table with a line for each result, and a column for each name that any of them has."""
    names = list(dict.fromkeys(name for result in results for name in result))
    head = "".join(f"<th{_CELL}>{_text(name)}</th>" for name in names)
    lines = "".join(
        "<tr>" + "".join(_cell(name, result.get(name)) for name in names) + "</tr>" for result in results
    )
    return f"<table><caption>{len(results)} in all</caption><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def memory_map(title: str, extents: Sequence[tuple[str, int, int]]) -> str:
    """A bar from the start of an image to its end: in each column of it, how much is data, zeros and hole.

    `extents` are kinds, offsets and sizes, without a gap.
    """
    size = sum(length for _, _, length in extents)
    bars = "".join(_bar(kind, first, last, share) for kind, first, last, share in _runs(extents, size))
    totals = {kind: sum(length for of, _, length in extents if of == kind) for kind in _COLOURS}
    legend = ", ".join(
        f'<span style="color:{_COLOURS[kind]};-webkit-text-stroke:0.5px #888">&#9632;</span> '
        f"{_TITLES[kind]}: {bytes_text(total)}"
        for kind, total in totals.items()
    )
    return (
        f"<figure><figcaption>Memory of {_text(title)}: {bytes_text(size)}</figcaption>"
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{_COLUMNS}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_COLUMNS} {_HEIGHT}" shape-rendering="crispEdges">'
        f'{bars}<rect width="{_COLUMNS}" height="{_HEIGHT}" fill="none" stroke="#888"/></svg>'
        f"<div>{legend}</div></figure>"
    )


def bytes_text(count: int) -> str:
    """A number of bytes for people: ``1.5 MiB``."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / 1024**power:.4g} {_UNITS[power]}"


def _runs(extents: Iterable[tuple[str, int, int]], size: int) -> Iterable[tuple[str, int, int, tuple[float, float]]]:
    """Neighbouring columns that look the same: a kind, the first and the end, and from where to where it fills them."""
    columns: list[dict[str, float]] = [{} for _ in range(_COLUMNS)]
    for kind, offset, length in extents:
        left, right = offset * _COLUMNS / size, (offset + length) * _COLUMNS / size
        for column in range(int(left), min(_COLUMNS, int(right) + 1)):
            part = min(right, column + 1) - max(left, column)
            if part > 0:
                columns[column][kind] = columns[column].get(kind, 0.0) + part
    for kind in _COLOURS:
        run: tuple[int, tuple[float, float]] | None = None
        for column in range(_COLUMNS + 1):
            fill = _fill(columns[column], kind) if column < _COLUMNS else None
            if run is not None and run[1] != fill:
                yield kind, run[0], column, run[1]
                run = None
            if run is None and fill is not None:
                run = column, fill


def _fill(column: Mapping[str, float], kind: str) -> tuple[float, float] | None:
    """Where in a column a kind is: data at the bottom, then zeros, then holes, each as high as its share."""
    if kind not in column:
        return None
    below = sum(column.get(other, 0.0) for other in list(_COLOURS)[: list(_COLOURS).index(kind)])
    return round(below, 2), round(below + column[kind], 2)


def _bar(kind: str, first: int, end: int, fill: tuple[float, float]) -> str:
    bottom, top = fill
    y, height = round(_HEIGHT * (1 - top), 1), round(_HEIGHT * (top - bottom), 1)
    return (
        f'<rect class="{kind}" x="{first}" y="{y}" width="{end - first}" height="{height}" fill="{_COLOURS[kind]}">'
        f"<title>{_TITLES[kind]}</title></rect>"
    )


def _cell(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return f'<td{_CELL} title="{value}">{bytes_text(value)}</td>'
    return f"<td{_CELL}>{_text(value)}</td>"


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict():
            return ", ".join(f"{_text(key)}={_text(item)}" for key, item in value.items())
        case list():
            return "<br>".join(_text(item) for item in value)
    return escape(str(value))
