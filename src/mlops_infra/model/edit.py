"""Edits cluster.yaml in place and keeps what people wrote around it: comments, order, quotes."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString

from mlops_infra.errors import ConfigError
from mlops_infra.model.tree import read_tree, spell

__all__ = ["remove_value", "replace_file", "set_value"]


def set_value(path: Path, keys: Sequence[str | int], value: Any) -> None:
    """Sets one value, e.g. `("versions", "kubernetes")`; sections on the way are made, a list grows by one at its end.

    The file is replaced atomically with its mode kept. Raises ConfigError where the way leads through a plain value or
    past the end of a list, ConfigProblems where the file cannot be read. The result is not validated here.
    """
    document = _load(path)
    parent = _walk(document, keys[:-1], path)
    last = keys[-1]
    if isinstance(parent, CommentedMap) and isinstance(last, str):
        parent[last] = _styled(value, parent.get(last))
    elif isinstance(parent, CommentedSeq) and isinstance(last, int) and last <= len(parent):
        if last == len(parent):
            parent.append(_styled(value, None))
        else:
            parent[last] = _styled(value, parent[last])
    else:
        raise _no_way(path, keys)
    _save(path, document)


def remove_value(path: Path, keys: Sequence[str | int]) -> None:
    """Takes out one key or one part of a list. Raises ConfigError where it is not there."""
    document = _load(path)
    parent: Any = document
    try:
        for key in keys[:-1]:
            parent = parent[key]
        del parent[keys[-1]]
    except (KeyError, IndexError, TypeError):
        raise ConfigError(f"{path}: there is no `{spell(tuple(keys))}`") from None
    _save(path, document)


def replace_file(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Writes a file so that a reader sees the old or the new one; an existing file keeps its mode and owner."""
    try:
        before = path.stat()
    except FileNotFoundError:
        before = None
    # Through a symbolic link the file behind it is replaced, not the link.
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), before.st_mode & 0o7777 if before else mode)
            if before and os.geteuid() == 0:
                os.fchown(out.fileno(), before.st_uid, before.st_gid)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _load(path: Path) -> CommentedMap:
    # Mistakes are said in the words of the other reader.
    tree = read_tree(path)
    if tree.problems:
        raise ConfigError(f"{path} has mistakes: {tree.problems[0]}", remedy="run `mlops-infra validate`")
    document = _yaml().load(path.read_text("utf-8-sig"))
    if not isinstance(document, CommentedMap):
        raise ConfigError(f"{path} is not a mapping of keys", remedy="run `mlops-infra validate`")
    return document


def _save(path: Path, document: CommentedMap) -> None:
    out = io.StringIO()
    _yaml().dump(document, out)
    replace_file(path, out.getvalue().encode())


def _walk(document: CommentedMap, keys: Sequence[str | int], path: Path) -> CommentedMap | CommentedSeq:
    current: Any = document
    for position, key in enumerate(keys):
        try:
            following = current[key]
        except (KeyError, IndexError):
            following = None
        if following is None:
            if not isinstance(current, CommentedMap):
                raise _no_way(path, keys)
            following = CommentedSeq() if isinstance((*keys, "")[position + 1], int) else CommentedMap()
            current[key] = following
        if not isinstance(following, CommentedMap | CommentedSeq):
            raise _no_way(path, keys)
        current = following
    return current  # type: ignore[no-any-return]


def _styled(value: Any, before: Any) -> Any:
    """Text as it was quoted before; text that YAML would read as something else gets quotes from ruamel by itself."""
    if isinstance(value, str) and isinstance(before, ScalarString):
        return type(before)(value)
    if isinstance(value, str) and value[:1].isdigit() and value.count(".") >= 1:
        # A version: quoted, so that the next editor of `1.30` is not surprised.
        return DoubleQuotedScalarString(value) if value.count(".") <= 2 else value
    return value


def _no_way(path: Path, keys: Sequence[str | int]) -> ConfigError:
    return ConfigError(f"{path}: `{spell(tuple(keys))}` cannot be set: something else stands there")
