"""The generated schema and reference: fresh, complete, and of one mind with the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.schema import cluster_schema, reference_page, schema_text

ROOT = Path(__file__).parents[3]
STALE = "run `python -m mlops_infra.model.schema docs/reference`"


def test_the_schema_in_the_docs_is_fresh() -> None:
    assert (ROOT / "docs/reference/cluster.schema.json").read_text("utf-8") == schema_text(), STALE


def test_the_reference_page_is_fresh() -> None:
    assert (ROOT / "docs/reference/cluster-yaml.md").read_text("utf-8") == reference_page(), STALE


def test_the_example_names_the_schema_that_is_there() -> None:
    first = (ROOT / "cluster.yaml").read_text("utf-8").splitlines()[0]
    mark, _, path = first.partition("$schema=")
    assert mark == "# yaml-language-server: "
    assert (ROOT / path).is_file()


def test_every_object_of_the_schema_refuses_unknown_keys() -> None:
    schema = cluster_schema()
    parts = [schema, *schema["$defs"].values(), schema["$defs"]["SecretSource"]["anyOf"][0]]
    objects = [p for p in parts if "properties" in p]
    assert len(objects) > 20
    assert all(p["additionalProperties"] is False for p in objects)


def test_the_schema_requires_what_the_model_requires() -> None:
    schema: dict[str, Any] = cluster_schema()
    assert schema["required"] == ["name", "ssh", "hosts"]
    assert set(schema["properties"]) == set(Cluster.model_fields)
    assert schema["$defs"]["Host"]["required"] == ["name", "address"]


def test_the_schema_takes_what_the_loader_takes_in_shorthand() -> None:
    schema = cluster_schema()
    assert {"string", "object"} == {p["type"] for p in schema["$defs"]["SecretSource"]["anyOf"]}
    sysctl = schema["$defs"]["HostSettings"]["properties"]["sysctls"]["additionalProperties"]
    assert {"string", "integer", "boolean"} == {p["type"] for p in sysctl["anyOf"]}


def test_the_reference_has_every_key_of_the_schema() -> None:
    page = reference_page()
    for part in [cluster_schema(), *cluster_schema()["$defs"].values()]:
        for key in part.get("properties", {}):
            assert f"| `{key}` |" in page
    assert "A frozen part of cluster.yaml" not in page
    assert json.loads(schema_text())["title"].startswith("cluster.yaml")
