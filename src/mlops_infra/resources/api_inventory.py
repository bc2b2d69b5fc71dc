"""What we own in the API: a list of objects kept in the cluster, so that what a release no longer names is taken away.

One ConfigMap a component, in kube-system. It is written before objects are applied (the old and the new ones) and once
more after the old ones are gone: a run that dies in between forgets nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mlops_infra.core import ApiObject, Facts, Probe, Shell
from mlops_infra.resources.api_apply import FIELD_MANAGER, KUBECTL, OWN_SERVER, apply_actions
from mlops_infra.resources.text import quote

__all__ = ["Inventory", "Owned"]

NAMESPACE = "kube-system"
_KEY = "objects"
_LAST = ("Namespace", "CustomResourceDefinition")
_FIRST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
# An object of ours that somebody else has made anew under the same name is not ours any more.
_REMOVE = """\
while IFS= read -r doc; do
  there=$(printf '%s' "$doc" | kubectl get -f - -o json --show-managed-fields --ignore-not-found 2>&1) || {
    case $there in *'no matches for kind'*|*"doesn't have a resource type"*) continue ;; esac
    printf '%s\\n' "$there"; exit 1
  }
  case $there in
    '') ;;
    *'"manager": "@MANAGER@"'*) printf '%s' "$doc" | kubectl delete -f - --ignore-not-found --timeout=@SECONDS@s ;;
    *) echo "left alone, it is not ours: $doc" ;;
  esac
done
"""


class Owned(NamedTuple):
    """An object by its name; `namespace` is empty for those of the whole cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Owned:
        meta = manifest["metadata"]
        return cls(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""), meta["name"])

    @property
    def line(self) -> str:
        return f"{self.api_version} {self.kind} {self.namespace}/{self.name}"

    @classmethod
    def read(cls, line: str) -> Owned | None:
        """None for a line that is none of ours."""
        words = line.split()
        if len(words) != 3 or "/" not in words[2]:
            return None
        namespace, _, name = words[2].partition("/")
        return cls(words[0], words[1], namespace, name)

    def shown(self) -> str:
        said = f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"
        if self.kind == "Namespace":
            return f"{said} (with everything in it)"
        return f"{said} (with every object of that type)" if self.kind == "CustomResourceDefinition" else said

    def document(self) -> bytes:
        meta = {"name": self.name} | ({"namespace": self.namespace} if self.namespace else {})
        return json.dumps({"apiVersion": self.api_version, "kind": self.kind, "metadata": meta}).encode()


@dataclass(frozen=True, slots=True)
class Inventory:
    """Of one component: `wanted` are the objects of its manifests now, in the order in which they are applied."""

    component: str
    wanted: tuple[Owned, ...] = field(repr=False)

    @property
    def probe(self) -> Probe[Mapping[str, Any]]:
        return ApiObject("v1", "ConfigMap", self._name, NAMESPACE)

    def dropped(self, facts: Facts) -> tuple[Owned, ...]:
        """What we once applied and want no more, in the order in which it is to go."""
        gone = [owned for owned in self._noted(facts) if owned not in self.wanted]
        gone.reverse()
        return tuple(sorted(gone, key=lambda owned: _rank(owned.kind)))

    def is_noted(self, facts: Facts) -> bool:
        """Whether the list in the cluster says what we want; a cluster that cannot be asked is taken at its word."""
        answer = facts.answer(self.probe)
        if isinstance(answer, Mapping):
            return bool(self.wanted) and set(self._noted(facts)) == set(self.wanted)
        return not self.wanted

    def note(self, more: tuple[Owned, ...], kubeconfig: str) -> Shell:
        """Writes the list: what is wanted, and `more` that is not gone yet."""
        lines = "".join(f"{owned.line}\n" for owned in (*self.wanted, *more))
        labels = {"app.kubernetes.io/managed-by": FIELD_MANAGER, "app.kubernetes.io/component": "inventory"}
        meta = {"name": self._name, "namespace": NAMESPACE, "labels": labels}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {_KEY: lines}}
        (action,) = apply_actions(f"the list of what {self.component} consists of", (config,), kubeconfig, 60)
        return action

    def remove(self, gone: tuple[Owned, ...], kubeconfig: str, deadline: int) -> Shell:
        script = _REMOVE.replace("@MANAGER@", FIELD_MANAGER).replace("@SECONDS@", str(deadline))
        prelude = f'{OWN_SERVER}kubectl() {{ command {KUBECTL.format(quote(kubeconfig))} "$@"; }}\n'
        documents = b"".join(owned.document() + b"\n" for owned in gone)
        return Shell(f"take away {len(gone)} objects of {self.component}", prelude + script, 2 * deadline, documents)

    def forget(self, kubeconfig: str) -> Shell:
        """Nothing is left of the component: neither is its list."""
        kubectl = KUBECTL.format(quote(kubeconfig))
        script = f"{OWN_SERVER}{kubectl} -n {NAMESPACE} delete configmap {self._name} --ignore-not-found\n"
        return Shell(f"forget {self.component}", script, 60)

    @property
    def _name(self) -> str:
        return f"mlops-infra-{self.component}"

    def _noted(self, facts: Facts) -> tuple[Owned, ...]:
        found = facts.value(self.probe)
        lines = str(((found or {}).get("data") or {}).get(_KEY, "")).splitlines()
        return tuple(owned for line in lines if (owned := Owned.read(line)) is not None)


def _rank(kind: str) -> int:
    return 0 if kind in _FIRST else 2 + _LAST.index(kind) if kind in _LAST else 1
