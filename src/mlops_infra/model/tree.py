"""Reads YAML into plain values and remembers where every key and value stands.

The nodes of ruamel.yaml are turned into values here rather than by one of its constructors: so each duplicate key is
found (a constructor stops at the first), `1.30` keeps its spelling, and no tag can build anything.
YAML 1.2 holds: `off`, `yes` and `no` are text, only `true` and `false` are booleans.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from mlops_infra.errors import ConfigError
from mlops_infra.model.problem import ConfigProblems, Mark, Problem

__all__ = ["Keys", "Place", "Tree", "parse_tree", "read_tree", "spell"]

Keys = tuple[str | int, ...]
"""The way to a value: `("hosts", "masters", 1, "address")`."""

MAX_NODES = 100_000
"""More is no cluster.yaml but a chain of aliases that unfold without end."""

TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands, where its value does, and how the value is spelt (scalars only)."""

    key: Mark
    value: Mark
    raw: str = ""


@dataclass(slots=True)
class Tree:
    """A document as plain values, and the place of each."""

    path: Path
    data: Any = None
    places: dict[Keys, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """Duplicate keys and the like: the document could be read all the same."""

    def place(self, keys: Keys) -> Place:
        """The place of a value, or of the nearest parent that is in the file."""
        while keys not in self.places and keys:
            keys = keys[:-1]
        return self.places.get(keys) or Place(Mark(self.path), Mark(self.path))


def spell(keys: Keys) -> str:
    """`hosts.masters[1].address`"""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


_UNALIKE = re.compile("[\t\x85\u2028\u2029\ufeff]")
"""What the two parsers count, or allow, differently."""


def read_tree(path: Path) -> Tree:
    """Reads the file. Raises ConfigError where it is missing, ConfigProblems where it is unreadable or not YAML."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise _unreadable(error, path) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = "is not UTF-8 text: save the file as UTF-8"
        raise ConfigProblems([Problem(Mark(path, line, 1), message)], path=path) from error
    return parse_tree(text, path)


def parse_tree(text: str, path: Path) -> Tree:
    """Like `read_tree`, for text that is at hand."""
    lines = text.split("\n")
    try:
        node = _compose(text)
    except (YAMLError, ValueError) as error:
        raise ConfigProblems([_syntax_problem(error, path, lines)], path=path) from error
    builder = _Builder(Tree(path), lines)
    try:
        builder.tree.data = builder.build(node, ()) if node is not None else None
    except _TooLargeError as error:
        problem = Problem(Mark(path), "unfolds to more values than any cluster needs: remove the nested aliases")
        raise ConfigProblems([problem], path=path) from error
    if node is not None:
        mark = builder.mark(node)
        builder.tree.places[()] = Place(mark, mark)
    return builder.tree


def _compose(text: str) -> Any:
    """By libyaml, in an eighth of the time; ruamel's own parser says better what is wrong, and has the last word."""
    if not _UNALIKE.search(text):
        with suppress(YAMLError, ValueError):
            return YAML(typ="safe").compose(text)
    return YAML(typ="safe", pure=True).compose(text)


def _unreadable(error: OSError, path: Path) -> ConfigError:
    if isinstance(error, FileNotFoundError):
        remedy = "write one with `mlops-infra init`, or name yours with `--config FILE`"
        return ConfigError(f"there is no {path}", remedy=remedy)
    return ConfigProblems([Problem(Mark(path), f"cannot be read: {error.strerror}")], path=path)


def _syntax_problem(error: Exception, path: Path, lines: list[str]) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        return Problem(Mark(path), f"is not YAML: {str(error).splitlines()[0]}")
    place = error.problem_mark or error.context_mark
    line = place.line if place else 0
    column = place.column if place else 0
    if line >= len(lines):
        line, column = len(lines) - 1, 0
    text = lines[line]
    said = error.problem or "cannot be understood"
    hint = ""
    if "\t" in text[: column + 1]:
        hint = "indent with spaces, YAML allows no tabs there"
    elif "mapping values are not allowed" in said:
        hint = "check the indentation, and put text that holds `: ` in quotes"
    elif "another document" in said:
        hint = "one file holds one cluster: remove the second `---`"
    elif "could not find expected ':'" in said:
        hint = "a key is followed by a colon and a space"
    return Problem(Mark(path, line + 1, column + 1, text), f"is not YAML: {said}", text.strip(), hint=hint)


class _TooLargeError(Exception):
    pass


class _Builder:
    """Turns nodes into values, places and problems."""

    def __init__(self, tree: Tree, lines: list[str]) -> None:
        self.tree = tree
        self.lines = lines
        self.count = 0
        self.open: list[int] = []

    def mark(self, node: Any) -> Mark:
        at = node.start_mark
        text = self.lines[at.line] if at.line < len(self.lines) else ""
        return Mark(self.tree.path, at.line + 1, at.column + 1, text)

    def complain(self, node: Any, message: str, keys: Keys, hint: str = "") -> None:
        offending = str(node.value) if isinstance(node, ScalarNode) else ""
        self.tree.problems.append(Problem(self.mark(node), message, offending, spell(keys), hint))

    def build(self, node: Any, keys: Keys) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise _TooLargeError
        if isinstance(node, ScalarNode):
            return self.scalar(node, keys)
        if id(node) in self.open:
            self.complain(node, "contains itself", keys)
            return None
        self.open.append(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.item(child, (*keys, index)) for index, child in enumerate(node.value)]
            return self.mapping(node, keys)
        finally:
            self.open.pop()

    def item(self, node: Any, keys: Keys, key: Any = None) -> Any:
        raw = str(node.value) if isinstance(node, ScalarNode) else ""
        self.tree.places[keys] = Place(self.mark(key if key is not None else node), self.mark(node), raw)
        return self.build(node, keys)

    def mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self.complain(key, "a key must be plain text", keys)
                continue
            name = str(key.value)
            if _tag(key) == "merge":
                merged.update(self.merge(value, keys))
                continue
            if name in seen:
                self.complain(key, f"`{name}` is given twice", (*keys, name), f"first in line {seen[name]}")
                continue
            seen[name] = key.start_mark.line + 1
            result[name] = self.item(value, (*keys, name), key)
        return {**merged, **result}

    def merge(self, node: Any, keys: Keys) -> dict[str, Any]:
        result: dict[str, Any] = {}
        # The first of several wins, as YAML's merge type says.
        for source in reversed(node.value) if isinstance(node, SequenceNode) else [node]:
            value = self.build(source, keys)
            if isinstance(value, dict):
                result.update(value)
            else:
                self.complain(source, "`<<` wants a mapping", keys)
        return result

    def scalar(self, node: ScalarNode, keys: Keys) -> Any:
        tag, text = _tag(node), str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag in ("int", "float"):
            return _number(tag, text)
        if tag not in ("str", "timestamp", "value"):
            self.complain(node, f"the tag `{tag}` has no meaning here", keys)
        return text


def _tag(node: ScalarNode) -> str:
    # ruamel keeps a resolved tag as text and a written one as an object with the text in it.
    return str(node.tag).removeprefix(TAG)


def _number(tag: str, text: str) -> int | float | str:
    """The number, or the text where Python reads the spelling differently (an error that the model then explains)."""
    plain = text.replace("_", "").lower()
    try:
        if tag == "int":
            return int(plain, 0) if plain.lstrip("+-").startswith(("0x", "0o", "0b")) else int(plain)
        return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return text
