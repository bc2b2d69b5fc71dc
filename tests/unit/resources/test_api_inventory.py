"""What we own in the API is noted there; what is no longer wanted is taken away, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from mlops_infra.core import ABSENT, ApiObject, Facts, Kind, Shell, Unknown
from mlops_infra.resources.api_objects import ApiObjects, probe_of

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}}
HOOK = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "h"}, "webhooks": []}  # fmt: skip
TYPE = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "t.x"}}
ALL = (NAMESPACE, TYPE, CONFIG, HOOK)
LIST = ApiObject("v1", "ConfigMap", "mlops-infra-shop", "kube-system")


def noted(*lines: str) -> dict[str, Any]:
    return {"metadata": {"name": "mlops-infra-shop"}, "data": {"objects": "".join(f"{line}\n" for line in lines)}}


LINES = (
    "v1 Namespace /shop",
    "apiextensions.k8s.io/v1 CustomResourceDefinition /t.x",
    "v1 ConfigMap shop/c",
    "admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration /h",
)


def there(*manifests: Any, note: Any) -> Facts:
    return Facts({**{probe_of(m): m for m in manifests}, LIST: note})


def shop(*manifests: Any) -> ApiObjects:
    return ApiObjects("Shop", manifests, inventory="shop")


def scripts(actions: Any) -> list[Shell]:
    return [a for a in actions if isinstance(a, Shell)]


def test_what_is_there_and_noted_needs_nothing_and_one_question_more() -> None:
    resource = shop(*ALL)
    assert resource.diff(there(*ALL, note=noted(*LINES))) is None
    assert LIST in resource.probes()


def test_objects_that_hold_but_are_not_noted_as_ours_are_noted() -> None:
    change = shop(*ALL).diff(there(*ALL, note=ABSENT))
    assert change is not None and change.reason == "not noted in the cluster as ours"
    (note,) = scripts(change.actions)
    assert json.loads(note.stdin)["data"]["objects"].splitlines() == list(LINES)
    assert not change.disruptive


def test_what_the_manifests_no_longer_name_is_shown_and_taken_away_webhooks_first_types_last() -> None:
    change = shop(CONFIG).diff(there(CONFIG, note=noted(*LINES)))
    assert change is not None and change.reason == "3 no longer wanted" and change.disruptive
    assert change.diff.splitlines() == [
        "- ValidatingWebhookConfiguration h",
        "- Namespace shop (with everything in it)",
        "- CustomResourceDefinition t.x (with every object of that type)",
    ]
    first, remove, last = scripts(change.actions)
    # A run that dies in between has forgotten nothing: the old names are in the list until they are gone.
    assert set(json.loads(first.stdin)["data"]["objects"].splitlines()) == set(LINES)
    assert [json.loads(line)["metadata"]["name"] for line in remove.stdin.splitlines()] == ["h", "shop", "t.x"]
    assert '"manager": "mlops-infra"' in remove.script
    assert json.loads(last.stdin)["data"]["objects"] == "v1 ConfigMap shop/c\n"


def test_a_component_that_is_switched_off_goes_with_its_list_and_once() -> None:
    change = shop().diff(there(note=noted("v1 ConfigMap shop/c")))
    assert change is not None and change.kind is Kind.REMOVE
    remove, forget = scripts(change.actions)
    assert json.loads(remove.stdin)["metadata"] == {"name": "c", "namespace": "shop"}
    assert "delete configmap mlops-infra-shop" in forget.script
    assert shop().diff(there(note=ABSENT)) is None


def test_a_cluster_that_does_not_answer_is_never_taken_for_one_that_holds_things_to_remove() -> None:
    assert shop().diff(Facts({LIST: Unknown("down")})) is None
    change = shop(CONFIG).diff(Facts())
    assert change is not None and "- " not in change.diff


def test_lines_that_are_none_of_ours_remove_nothing() -> None:
    assert shop(CONFIG).diff(there(CONFIG, note=noted("v1 ConfigMap shop/c", "nonsense", "a b c d"))) is None


def test_what_has_to_answer_first_runs_before_an_apply_and_not_before_a_removal() -> None:
    wait = Shell("wait", "true\n")
    resource = ApiObjects("Shop", (CONFIG,), inventory="shop", before=(wait,))
    change = resource.diff(Facts({probe_of(CONFIG): ABSENT, LIST: ABSENT}))
    assert change is not None
    assert [a.title for a in scripts(change.actions)][1] == "wait"
    gone = ApiObjects("Shop", (), inventory="shop", before=(wait,)).diff(there(note=noted("v1 ConfigMap shop/c")))
    assert gone is not None and wait not in gone.actions
