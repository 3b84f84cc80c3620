"""What a notebook shows: tables that hold together whatever the names are, and a true picture of memory."""

import copy
import dataclasses
import pickle
import re
import sys
import types
from xml.etree import ElementTree

import pytest
from conftest import MEMORY_BYTES, need

from libhypeman import Hypeman, Instance, Phase, Progress, ResultList, Snapshot, _html, progress_bar


def parsed(html: str) -> ElementTree.Element:
    """The markup, which is well-formed."""
    return ElementTree.fromstring(html)


def texts(element: ElementTree.Element, tag: str) -> list[str]:
    return ["".join(cell.itertext()) for cell in element.iter(tag)]


def test_a_snapshot_is_a_table_of_its_fields_and_its_text_is_never_markup(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    # As the record of another writer may have them.
    made = dataclasses.replace(made, tags={"team": "<b>&'\""})
    table = parsed(made._repr_html_())
    shown = dict(zip(texts(table, "th"), texts(table, "td"), strict=True))
    assert set(shown) == set(made.to_dict())
    assert shown["id"] == made.id
    assert shown["tags"] == "team=<b>&'\""
    assert shown["size_bytes"] == "4 KiB"


def test_a_list_is_a_table_with_a_line_for_each_and_a_column_for_each_field_that_any_has(
    hm: Hypeman, stopped: Instance
) -> None:
    plain = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    named = hm.instances.snapshots.create(stopped.id, kind="Stopped", name="named")
    found = hm.snapshots.list()
    assert found == [named, plain]
    head, *lines = parsed(found._repr_html_()).iter("tr")
    names = texts(head, "th")
    rows = [dict(zip(names, texts(line, "td"), strict=True)) for line in lines]
    assert [row["id"] for row in rows] == [named.id, plain.id]
    assert [row["name"] for row in rows] == ["named", ""]
    assert len(list(parsed(hm.instances.list()._repr_html_()).iter("tr"))) == 2
    assert "0 in all" in ResultList[Snapshot]()._repr_html_()


def test_a_list_is_a_list_and_survives_pickling_and_copying(hm: Hypeman, stopped: Instance) -> None:
    hm.instances.snapshots.create(stopped.id, kind="Stopped", tags={"a": "b"})
    found = hm.snapshots.list()
    assert isinstance(found, list)
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert again == found
        assert again._repr_html_() == found._repr_html_()


def areas(svg: ElementTree.Element) -> dict[str, float]:
    """How much of the picture each kind covers."""
    rectangles = [shape for shape in svg.iter() if shape.get("class")]
    covered: dict[str, float] = {}
    for shape in rectangles:
        kind, width, height = (shape.get(name, "") for name in ("class", "width", "height"))
        covered[kind] = covered.get(kind, 0) + float(width) * float(height)
    whole = 480 * 24
    return {kind: area / whole for kind, area in covered.items()}


def test_a_memory_image_is_drawn_with_what_is_data_and_what_is_none(hm: Hypeman, standby: Instance) -> None:
    assert standby.directory is not None
    memory = standby.directory / "snapshots/snapshot-latest/memory"
    with memory.open("r+b") as file:
        file.truncate(MEMORY_BYTES // 2)
        file.truncate(MEMORY_BYTES)
    made = hm.instances.snapshots.create(standby.id, kind="Standby", compression={"enabled": True})
    hm.snapshots.wait(made.id, timeout=60)
    image = hm.snapshots.memory(made.id)
    html = image._repr_html_()
    assert html is not None
    assert made.id in html
    assert areas(parsed(html)) == pytest.approx({"data": 0.5, "zero": 0.5}, abs=0.01)
    assert repr(image) == f"MemoryImage('{made.id}', size_bytes={MEMORY_BYTES})"
    image.close()
    assert (image._repr_html_(), repr(image)) == (None, "MemoryImage(closed)")


def test_each_kind_covers_its_share_of_the_picture_however_fine_the_extents_are() -> None:
    kinds = ["data", "zero", "hole", "data"]
    fine = [(kinds[number % 4], number * 4096, 4096) for number in range(40_000)]
    coarse = [("data", 0, 1), ("hole", 1, 999)]
    shares = {"data": 0.5, "zero": 0.25, "hole": 0.25}
    assert areas(parsed(_html.memory_map("x", fine))) == pytest.approx(shares, abs=0.03)
    assert areas(parsed(_html.memory_map("x", coarse)))["hole"] == pytest.approx(0.999, abs=0.01)
    assert len(_html.memory_map("x", fine)) < 200_000
    assert areas(parsed(_html.memory_map("empty", []))) == {}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1 GiB"), (1 << 60, "1.049e+06 TiB")]
)
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert _html.bytes_text(count) == text


def test_a_progress_bar_has_one_bar_a_phase_and_follows_the_bytes(
    hm: Hypeman, stopped: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    need("tqdm")
    with progress_bar(mininterval=0, ascii=True) as progress:
        hm.instances.snapshots.create(stopped.id, kind="Stopped", progress=progress)
    drawn = capsys.readouterr().err
    assert re.search(r"copying disks: 100%.*4\.00k/4\.00k", drawn), drawn


def test_a_bar_is_told_what_each_step_adds_and_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Bar] = []

    class Bar:
        def __init__(self, **look: object) -> None:
            self.look, self.n, self.closed = look, 0, False
            self.total: int | None = None
            bars.append(self)

        def update(self, more: int) -> None:
            self.n += more

        def close(self) -> None:
            self.closed = True

    auto = types.ModuleType("tqdm.auto")
    auto.tqdm = Bar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    with progress_bar(desc="mine") as progress:
        for step in (Progress(Phase.SYNCING, 0, 0), Progress(Phase.SYNCING, 5, 9), Progress(Phase.SYNCING, 9, 9)):
            progress(step)
        progress(Progress(Phase.COMPRESSING, 2, 4))
    seen = [(bar.n, bar.total, bar.closed, bar.look["desc"]) for bar in bars]
    assert seen == [(9, 9, True, "mine"), (2, 4, True, "mine")]


def test_without_tqdm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match="pip install tqdm"), progress_bar():
        pytest.fail("was entered")
