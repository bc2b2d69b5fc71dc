"""Namespaces for people's programs: made where they are missing, held to a Pod Security level where we made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlops_infra.core import Change, Facts, Probe, Shell
from mlops_infra.resources.api_apply import APPLY, FIELD_MANAGER, LONGEST, serves
from mlops_infra.resources.api_objects import ApiObjects, probe_of
from mlops_infra.resources.api_ready import kubectl_prelude
from mlops_infra.resources.text import quote

__all__ = ["ENFORCE", "Namespaces"]

_POD_SECURITY = "pod-security.kubernetes.io"
ENFORCE = f"{_POD_SECURITY}/enforce"
_OWNER = "app.kubernetes.io/managed-by"
# The API may not have answered when the plan was made: who made a namespace is asked once more where it is applied.
_HOLD = """\
for name in @NAMES@; do
  found=$(kubectl get namespace "$name" --ignore-not-found -o 'jsonpath={.metadata.name}={.metadata.labels.@OWNER@}')
  case $name:$found in
    default:*) labels=@TOLD@ ;;
    *:|*=@MANAGER@) labels=@HELD@ ;;
    *) labels=@TOLD@ ;;
  esac
  printf '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"%s","labels":%s}}\\n' "$name" "$labels" |
    kubectl @APPLY@ -f -
done
"""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """They are there. Those that we made say so by a label, and enforce the level (`privileged`, `baseline`,
    `restricted`; https://kubernetes.io/docs/concepts/security/pod-security-admission/).

    One that was there before may hold pods which the level would refuse when they are made anew: after a drain, a crash
    or a roll-out. There the API only warns, and what its owner enforces is not touched. `default` is always such a one.
    """

    name: str
    names: tuple[str, ...]
    level: str
    deadline: int = 60

    @property
    def id(self) -> str:
        return f"api:{self.name}"

    @property
    def title(self) -> str:
        return f"{self.name} in the API"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset(probe_of(self._manifest(name, ours=True)) for name in self.names)

    def diff(self, facts: Facts) -> Change | None:
        wanted = tuple(self._manifest(name, ours=self._is_ours(name, facts)) for name in self.names)
        change = ApiObjects(self.name, wanted).diff(facts)
        return change and replace(change, actions=(self._hold(),))

    def _is_ours(self, name: str, facts: Facts) -> bool:
        """Or will be: it is not there yet."""
        if name == "default":
            return False
        answer = facts.answer(probe_of(self._manifest(name, ours=True)))
        if not isinstance(answer, Mapping):
            return True
        return (answer["metadata"].get("labels") or {}).get(_OWNER) == FIELD_MANAGER

    def _manifest(self, name: str, *, ours: bool) -> dict[str, Any]:
        labels = self._held() if ours else self._told()
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}

    def _told(self) -> dict[str, str]:
        return {f"{_POD_SECURITY}/warn": self.level}

    def _held(self) -> dict[str, str]:
        return {_OWNER: FIELD_MANAGER, ENFORCE: self.level, **self._told()}

    def _hold(self) -> Shell:
        script = kubectl_prelude() + serves() + _HOLD
        for mark, text in {
            "NAMES": " ".join(quote(name) for name in self.names),
            "OWNER": _OWNER.replace(".", "\\."),
            "MANAGER": FIELD_MANAGER,
            "TOLD": quote(json.dumps(self._told())),
            "HELD": quote(json.dumps(self._held())),
            "APPLY": APPLY,
        }.items():
            script = script.replace(f"@{mark}@", text)
        return Shell(f"make {self.name}, or hold them to {self.level}", script, self.deadline + LONGEST)
