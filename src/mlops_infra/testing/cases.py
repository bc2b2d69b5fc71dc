"""Cases as data: facts and a resource → the change that it proposes, in TOML or JSON.

    resource = { type = "File", path = "/etc/motd", content = "hello" }   # left to the test that loads it
    [[facts]]
    probe = { kind = "Stat", path = "/etc/motd" }
    absent = true                       # or: unreadable = "why", unknown = "why", value = …
    [expect]
    change = "create"                   # or "none"
    reason = "not there"

Each file below the directory is one case, named by its path without the ending.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_infra.core import probe as probe_module
from mlops_infra.core.facts import ABSENT, Facts, Unknown, Unreadable
from mlops_infra.core.probe import Probe

__all__ = ["Case", "load_cases", "to_fact", "to_probe"]

_FACT_TYPES = {
    "Stat": probe_module.StatFact,
    "Unit": probe_module.UnitFact,
    "Package": probe_module.PackageFact,
    "System": probe_module.SystemFact,
    "Command": probe_module.CommandFact,
}


@dataclass(frozen=True, slots=True)
class Case:
    """`desired` and `expect` are as written in the file: their meaning belongs to the test."""

    name: str
    desired: Mapping[str, Any]
    facts: Facts
    expect: Mapping[str, Any]


def load_cases(directory: Path) -> Iterator[Case]:
    """The cases below a directory, in order of their names. Raises ValueError with the file's name for a wrong one."""
    for path in sorted((*directory.rglob("*.toml"), *directory.rglob("*.json"))):
        text = path.read_text()
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        try:
            found = {to_probe(entry["probe"]): to_fact(entry) for entry in document.get("facts", ())}
            yield Case(
                name=str(path.relative_to(directory).with_suffix("")),
                desired=document["resource"],
                facts=Facts(found),
                expect=document["expect"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def to_probe(entry: Mapping[str, Any]) -> Probe[Any]:
    """`{kind = "Stat", path = "/x"}` as a probe."""
    fields = dict(entry)
    kind = getattr(probe_module, str(fields.pop("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, Probe)):
        raise ValueError(f"no such probe: {entry}")
    made: Probe[Any] = kind(**fields)
    return made


def to_fact(entry: Mapping[str, Any]) -> Any:
    """The answer in an entry of `facts`; modes may be written as octal strings ("0644")."""
    if entry.get("absent"):
        return ABSENT
    if "unreadable" in entry:
        return Unreadable(entry["unreadable"])
    if "unknown" in entry:
        return Unknown(entry["unknown"])
    value = entry["value"]
    shape = _FACT_TYPES.get(entry["probe"]["kind"])
    if shape is None or not isinstance(value, Mapping):
        return tuple(value) if isinstance(value, list) else value
    fields = {f.name: f for f in dataclasses.fields(shape)}
    unknown = value.keys() - fields.keys()
    if unknown:
        raise ValueError(f"{shape.__name__} has no {', '.join(sorted(unknown))}")
    given = {k: int(v, 8) if k == "mode" and isinstance(v, str) else v for k, v in value.items()}
    return shape(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
