"""What cluster.yaml names outside itself: files and environment variables, whatever part of it names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mlops_infra.model.base import LOGIN, FileName, Noun, VariableName
from mlops_infra.model.tree import Keys

__all__ = ["Named", "beside", "kind_of", "named_in"]


@dataclass(frozen=True, slots=True)
class Named:
    """A file or a variable, and where it is named. `is_login`: the operator's own way onto the hosts."""

    keys: Keys
    name: str
    is_file: bool
    is_login: bool

    @property
    def lies_beside(self) -> bool:
        """Whether it is a file in the directory of cluster.yaml, or below it."""
        path = Path(self.name)
        return self.is_file and not path.is_absolute() and ".." not in path.parts and not self.name.startswith("~")


def beside(base: Path, name: FileName) -> Path:
    """Where that file is. `base` is the directory of cluster.yaml."""
    return base / Path(name).expanduser()


def named_in(noun: Noun, keys: Keys = (), *, is_login: bool = False) -> Iterator[Named]:
    """All of them, in file order; told by the types of the fields, so that a new field cannot be forgotten."""
    for (key, info), (_, value) in zip(type(noun).file_keys().items(), noun, strict=True):
        yield from _below(value, info.annotation, (*keys, key), is_login or LOGIN in info.metadata)


def _below(value: Any, annotation: Any, keys: Keys, is_login: bool) -> Iterator[Named]:
    if isinstance(value, Noun):
        yield from named_in(value, keys, is_login=is_login)
    elif isinstance(value, str):
        kind = kind_of(annotation)
        if kind is not None:
            yield Named(keys, value, kind is FileName, is_login)
    elif isinstance(value, tuple | Mapping):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _below(part, annotation, (*keys, key), is_login)


def kind_of(annotation: Any) -> Any:
    """FileName or VariableName where a field holds such (alone, or in a tuple or mapping); else None."""
    if annotation in (FileName, VariableName):
        return annotation
    return next((kind for part in get_args(annotation) if (kind := kind_of(part)) is not None), None)
