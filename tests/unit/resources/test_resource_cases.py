"""Resources by example: each file in tests/cases says facts and a resource, and the change to be proposed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_infra import resources
from mlops_infra.core import Change, PutFile, ReadText, Resource
from mlops_infra.testing import Case, load_cases

CASES = tuple(load_cases(Path(__file__).parents[2] / "cases"))


def resource_of(case: Case) -> Resource:
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in case.desired.items() if k != "type"}
    made: Any = getattr(resources, case.desired["type"])(**fields)
    assert isinstance(made, Resource)
    return made


def said(change: Change) -> list[str]:
    return [
        f"put {a.path} {a.mode:04o} {a.owner}:{a.group}" if isinstance(a, PutFile) else a.script for a in change.actions
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_facts_and_a_resource_give_the_change_of_the_case(case: Case) -> None:
    resource = resource_of(case)
    assert set(case.facts) <= resource.probes() | {p for p in case.facts if isinstance(p, ReadText)}
    change = resource.diff(case.facts)
    expect = dict(case.expect)
    wanted = expect.pop("change")
    assert (change.kind if change else "none") == wanted
    if change is None:
        return
    everything = "\n".join(said(change))
    assert change.reason == expect.pop("reason")
    assert change.diff == expect.pop("diff", change.diff)
    wants = sorted(getattr(p, "path", str(p)) for p in change.wants)
    assert wants == expect.pop("wants", wants)
    assert said(change) == expect.pop("actions", said(change))
    assert [text for text in expect.pop("contains", ()) if text not in everything] == []
    assert [text for text in expect.pop("lacks", ()) if text in everything] == []
    assert not expect, "the case says something that is not looked at"


def test_the_examples_cover_most_resources() -> None:
    assert len(CASES) >= 25
    assert len({case.desired["type"] for case in CASES}) >= 10
