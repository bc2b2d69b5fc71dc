"""The JSON Schema of cluster.yaml, for editors, and its reference as a page."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from functools import cache
from typing import Any

from pydantic_core import PydanticUndefined

from mlops_infra.model.base import Noun
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.suggest import allowed_values, noun_at
from mlops_infra.model.tree import Keys

__all__ = ["cluster_schema", "reference_page", "schema_text"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def cluster_schema() -> dict[str, Any]:
    """The schema as an object; every key has its description."""
    schema = Cluster.model_json_schema()
    nouns = {noun.__name__: noun for noun in _all_nouns(Noun)}
    parts = {"Cluster": schema, **schema.get("$defs", {})}
    for name, part in parts.items():
        if name not in nouns:
            continue
        part["description"] = _doc(nouns[name])
        for key, text in _attribute_docs(nouns[name]).items():
            if key in part.get("properties", {}):
                part["properties"][key]["description"] = text
    secret = schema["$defs"]["SecretSource"]
    plain = {"type": "string", "description": "The secret itself, in clear text."}
    schema["$defs"]["SecretSource"] = {"anyOf": [secret, plain], "title": "SecretSource"}
    return {"$schema": DRAFT, **schema, "title": "cluster.yaml of mlops-infra"}


def schema_text() -> str:
    """The schema as `config schema` prints it."""
    return json.dumps(cluster_schema(), indent=2) + "\n"


def reference_page() -> str:
    """docs/reference/cluster-yaml.md: every key with its kind, default and meaning."""
    lines = [
        "# cluster.yaml",
        "",
        "One file describes a platform. `name`, `ssh.user` and `hosts.masters` have to be there; everything else has a",
        "default. `mlops-infra validate` says what is wrong with a file, `mlops-infra config show` prints it with",
        "every default filled in. [`cluster.yaml`](../../cluster.yaml) is a complete, commented example, and",
        "[`cluster.schema.json`](cluster.schema.json) lets an editor complete and check keys while you type.",
        "",
        "<!-- Generated from the model: `python -m mlops_infra.model.schema docs/reference`. Do not edit. -->",
        "",
    ]
    for keys in _sections(Cluster, ()):
        lines += _section(keys)
    return "\n".join(lines).rstrip() + "\n"


def _sections(noun: type[Noun], keys: Keys) -> list[Keys]:
    found: list[Keys] = [keys]
    for name in noun.file_keys():
        for below in ((*keys, name), (*keys, name, 0)):
            part = noun_at(below)
            if part is not None:
                found += _sections(part, below)
                break
    return found


def _section(keys: Keys) -> list[str]:
    noun = noun_at(keys) or Cluster
    title = "".join("[]" if isinstance(k, int) else f".{k}" for k in keys).lstrip(".")
    lines = [f"## `{title}`" if title else "## The top level", ""]
    if doc := _doc(noun):
        lines += [doc, ""]
    lines += ["| key | kind | default | meaning |", "|---|---|---|---|"]
    docs = _attribute_docs(noun)
    for name, info in noun.file_keys().items():
        below = noun_at((*keys, name)) or noun_at((*keys, name, 0))
        kind = _kind((*keys, name), info.annotation, below)
        meaning = " ".join(docs.get(name, "").split())
        lines.append(f"| `{name}` | {kind} | {_default(info, below)} | {meaning} |")
    return [*lines, ""]


def _kind(keys: Keys, annotation: Any, below: type[Noun] | None) -> str:
    values = allowed_values(keys)
    if values:
        return " \\| ".join(f"`{v}`" for v in values)
    text = str(annotation)
    if below is not None:
        return "list of sections" if "tuple[" in text else "section"
    kinds = (("tuple[", "list"), ("dict[", "mapping"), ("bool", "boolean"), ("int", "number"), ("float", "number"))
    return next((kind for mark, kind in kinds if mark in text), "text")


def _default(info: Any, below: type[Noun] | None) -> str:
    if info.is_required():
        return "**required**"
    default = info.get_default(call_default_factory=True)
    if below is not None and isinstance(default, Noun):
        said = default.model_dump(exclude_defaults=True, by_alias=True)
        return f"`{json.dumps(said)}`" if said else "see below"
    if default in (None, PydanticUndefined, "", (), {}):
        return "none"
    return f"`{json.dumps(default)}`"


def _doc(noun: type[Noun]) -> str:
    """Its own docstring: `inspect.getdoc` would hand down the base class's."""
    return inspect.cleandoc(noun.__dict__.get("__doc__") or "")


def _all_nouns(base: type[Noun]) -> list[type[Noun]]:
    return [n for sub in base.__subclasses__() for n in (sub, *_all_nouns(sub))]


@cache
def _attribute_docs(noun: type[Noun]) -> dict[str, str]:
    """The text below each attribute; read from the source here, because at import it would slow every command."""
    body = ast.parse(inspect.getsource(noun)).body[0]
    docs: dict[str, str] = {}
    written = {name: info.alias or name for name, info in noun.model_fields.items()}
    previous = ""
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            previous = written.get(node.target.id, node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and previous:
            docs[previous] = inspect.cleandoc(str(node.value.value))
            previous = ""
        else:
            previous = ""
    return docs


def _main(directory: str) -> None:
    from pathlib import Path  # noqa: PLC0415 - only the generator writes

    (Path(directory) / "cluster.schema.json").write_text(schema_text(), "utf-8")
    (Path(directory) / "cluster-yaml.md").write_text(reference_page(), "utf-8")


if __name__ == "__main__":
    _main(sys.argv[1])
