"""Pydantic's errors in the words of cluster.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_infra.model.problem import Problem
from mlops_infra.model.suggest import allowed_values, nearest, suggest_key
from mlops_infra.model.tree import Keys, Tree, spell

__all__ = ["explain"]

KINDS = {
    "list": "a list",
    "dict": "a mapping of keys",
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "nothing",
}

WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "`true` or `false`",
    "bool_parsing": "`true` or `false`",
    "tuple_type": "a list (lines that begin with `- `)",
    "dict_type": "a mapping (`key: value` lines)",
    "model_type": "a mapping (`key: value` lines)",
    "model_attributes_type": "a mapping (`key: value` lines)",
}


def explain(item: Mapping[str, Any], keys: Keys, tree: Tree) -> Problem:
    """One error of pydantic as a Problem; `keys` is its place in the document."""
    kind = str(item["type"])
    place = tree.place(keys)
    there = keys in tree.places
    name = str(keys[-1]) if keys else ""
    if kind == "missing":
        return _missing(keys, tree)
    if kind == "extra_forbidden":
        section = spell(keys[:-1])
        message = f"unknown key `{name}`" + (f" in `{section}`" if section else "")
        return Problem(place.key, message, name, spell(keys), suggest_key(keys))
    mark = place.value if there else place.key
    offending = place.raw or name
    message, hint = _value(kind, item, keys, place.raw)
    return Problem(mark, message, offending, spell(keys), hint)


def _missing(keys: Keys, tree: Tree) -> Problem:
    parent = tree.place(keys[:-1])
    section = spell(keys[:-1])
    message = f"`{keys[-1]}` is missing" + (f" in `{section}`" if section else "")
    mark = parent.key if keys[:-1] in tree.places else parent.value
    return Problem(mark, message, str(keys[-1]), spell(keys), _how_many(keys))


def _how_many(keys: Keys) -> str:
    return "name one master, or three for high availability" if keys[-1] == "masters" else ""


def _value(kind: str, item: Mapping[str, Any], keys: Keys, raw: str) -> tuple[str, str]:
    """The message and the hint for a wrong value."""
    name = spell(keys)
    given = item.get("input")
    if kind == "value_error":
        return f"`{name}`: {item['ctx']['error']}", ""
    if kind == "literal_error":
        allowed = allowed_values(keys)
        near = nearest(str(given), allowed)
        known = " or ".join(f"`{v}`" for v in allowed)
        return f"`{name}` cannot be `{raw or given}`", f"did you mean `{near}`?" if near else f"it is {known}"
    if given is None:
        return f"`{name}` has no value", "give it one, or remove the line"
    if kind == "string_type" and isinstance(given, int | float):
        return (
            f"`{name}` must be text, and YAML reads {raw or given} as a number",
            f'put it in quotes: "{raw or given}"',
        )
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        if str(keys[-1]).endswith("node_port"):
            return f"`{name}` is {given}: NodePorts lie between 30000 and 32767", ""
        if str(keys[-1]).endswith("port"):
            return f"`{name}` is {given}: a port lies between 1 and 65535", ""
        said = str(item["msg"]).removeprefix("Input should be ")
        return f"`{name}` is {given}: it must be {said}", ""
    if kind == "too_short":
        return f"`{name}` is empty", _how_many(keys)
    if kind in WANTED:
        found = KINDS.get(type(given).__name__, "something else")
        return f"`{name}` must be {WANTED[kind]}, not {found}", ""
    return f"`{name}`: {item['msg']}", ""
