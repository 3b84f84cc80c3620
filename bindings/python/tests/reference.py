"""Writes the reference in docs/python.md from signatures and docstrings.

`UPDATE=1 pytest bindings/python/tests/test_reference.py` writes it anew; without that the test compares.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from pathlib import Path
from typing import Any

import libhypeman

PAGE = Path(__file__).parents[3] / "docs" / "python.md"
MARK = "<!-- From here on this page is written by bindings/python/tests/reference.py. -->"


def written() -> str:
    """The page, with its second half made anew."""
    guide = PAGE.read_text().partition(MARK)[0]
    return guide + MARK + "\n\n" + "\n".join(_section(title, names) for title, names in _sections()) + "\n"


def _sections() -> list[tuple[str, list[str]]]:
    """Every public name once, in the order in which one meets them."""
    names = [name for name in libhypeman.__all__ if name not in ("__version__", "BadRequestError")]
    things = {name: getattr(libhypeman, name) for name in names}

    def those(base: type) -> list[str]:
        return [name for name, thing in things.items() if inspect.isclass(thing) and issubclass(thing, base)]

    errors = those(libhypeman.HypemanError)
    enumerations = those(enum.Enum)
    awaited = [name for name in names if name.startswith("Async")]
    results = [name for name, thing in things.items() if dataclasses.is_dataclass(thing)]
    rest = [name for name in names if name not in {*errors, *enumerations, *awaited, *results}]
    first = ["Hypeman", "Instances", "InstanceSnapshots", "Snapshots", "MemoryImage", "Pager"]
    calls = first + [name for name in rest if name not in first]
    return [
        ("Calls", calls),
        ("Calls, awaited", awaited),
        ("Results", results),
        ("Names", enumerations),
        ("Errors", ["HypemanError", *(name for name in errors if name != "HypemanError")]),
    ]


def _section(title: str, names: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(_thing(name, getattr(libhypeman, name)) for name in names)


def _thing(name: str, thing: Any) -> str:
    if not inspect.isclass(thing):
        return f"### {name}\n\n```text\n{name}{_signature(thing)}\n```\n\n{_doc(thing)}\n"
    parts = [f"### {name}", _doc(thing)]
    if issubclass(thing, libhypeman.HypemanError) and thing is not libhypeman.HypemanError:
        parents = [base.__name__ for base in thing.__mro__[1:] if _is_told(base)]
        told = f"Code `{thing.code}`, number {thing.number}, status {thing.status_code}; a" if hasattr(thing, "code") else "A"
        parts[1] += f" {told} {', '.join(parents)}."
        return "\n\n".join(parts) + "\n"
    if dataclasses.is_dataclass(thing):
        parts.append(_fields(thing))
        return "\n\n".join(parts) + "\n"
    if issubclass(thing, enum.Enum):
        parts.append(", ".join(f"`{member.value}`" for member in thing))
        return "\n\n".join(parts) + "\n"
    twin = getattr(libhypeman, name.removeprefix("Async"), None)
    if twin is not thing and twin is not None:
        parts.append(_twin(thing, twin))
        return "\n\n".join(part for part in parts if part) + "\n"
    if thing is libhypeman.Hypeman:
        parts.insert(1, f"```text\n{name}{_signature(thing)}\n```")
    for called, member in vars(thing).items():
        if called.startswith("_") or not (inspect.isroutine(member) or inspect.isdatadescriptor(member)):
            continue
        shown = f"{called}{_signature(member)}" if inspect.isroutine(member) else called
        parts.append(f"#### {name}.{called}\n\n```text\n{shown}\n```\n\n{_doc(member)}")
    return "\n\n".join(parts) + "\n"


def _twin(thing: type, twin: type) -> str:
    """What of an awaited class its blocking twin does not say."""
    calls = [name for name, member in vars(thing).items() if inspect.isfunction(member) and not name.startswith("_")]
    return "Calls: " + ", ".join(f"`{name}`" for name in calls) + "."


def _is_told(base: type) -> bool:
    return not base.__name__.startswith("_") and base not in (object, BaseException, Exception)


def _fields(cls: Any) -> str:
    notes = _notes(cls)
    lines = []
    for field in dataclasses.fields(cls):
        if not field.name.startswith("_"):
            kind = str(field.type).replace("|", "\\|")
            lines.append(f"| `{field.name}` | {kind} | {notes.get(field.name, '')} |")
    return "| field | type | |\n|---|---|---|\n" + "\n".join(lines)


def _notes(cls: Any) -> dict[str, str]:
    """The strings under the fields of a class, which are for readers and not kept at run time."""
    source = inspect.getsource(cls)
    found = re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    return {name: _flat(text) for name, text in found}


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


def _signature(call: Any) -> str:
    signature = inspect.signature(call)
    parameters = [_parameter(p) for p in signature.parameters.values() if p.name != "self"]
    keyword_only = [p.kind is p.KEYWORD_ONLY for p in signature.parameters.values() if p.name != "self"]
    if True in keyword_only:
        parameters.insert(keyword_only.index(True), "*")
    returned = signature.return_annotation
    after = "" if returned in (signature.empty, "None") or call is libhypeman.Hypeman else f" -> {returned}"
    line = f"({', '.join(parameters)}){after}"
    if len(line) < 80:
        return line
    return "(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){after}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{stars}{parameter.name}{kind}{default}"


def _doc(thing: Any) -> str:
    text = (inspect.getdoc(thing) or "").replace("``", "`")
    # A session in a docstring is code; its prompts are for doctest.
    lines = [re.sub(r"\s*# doctest: .*", "", line) for line in text.splitlines()]
    out: list[str] = []
    inside = False
    for line in lines:
        prompt = line.startswith((">>> ", "... "))
        if prompt != inside:
            out.append("```text" if prompt else "```")
        inside = prompt
        out.append(line[4:] if prompt else line)
    return "\n".join(out + (["```"] if inside else [])).strip()
