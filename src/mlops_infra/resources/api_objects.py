"""Objects of the Kubernetes API, applied server-side under our own field manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import Absent, ApiObject, Change, Facts, Kind, Probe, Shell
from mlops_infra.resources.api_apply import apply_actions
from mlops_infra.resources.api_inventory import Inventory, Owned
from mlops_infra.resources.api_leaves import differences, shown_object

__all__ = ["NO_CLUSTER_YET", "ApiObjects", "probe_of"]

NO_CLUSTER_YET = "cluster does not exist yet"
"""The reason for a change of objects of which nothing is known: no API answered."""

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiObjects:
    """Manifests that must hold in the API, in this order; judged by our own leaves only (architecture.md 2).

    Secrets' values are masked wherever they could be shown. `deadline` is for one apply, seconds. With an `inventory`
    (the name of the component) objects that the manifests no longer name are taken away. `before` runs ahead of every
    apply: what has to answer first, such as a webhook. `parting` is said of objects that are taken away: what
    that means for those who are served.
    """

    name: str
    manifests: tuple[Manifest, ...] = field(repr=False)
    kubeconfig: str = "/etc/kubernetes/admin.conf"
    deadline: int = 180
    disruptive: bool = False
    inventory: str = ""
    before: tuple[Shell, ...] = ()
    parting: str = ""

    @property
    def id(self) -> str:
        return f"api:{self.name}"

    @property
    def title(self) -> str:
        return f"{self.name} in the API"

    def probes(self) -> frozenset[Probe[Any]]:
        asked = {probe_of(m) for m in self.manifests}
        return frozenset(asked | {kept.probe} if (kept := self._kept()) else asked)

    def diff(self, facts: Facts) -> Change | None:
        answers = [(m, _answer(facts, m)) for m in self.manifests]
        unknown = [m for m, answer in answers if not isinstance(answer, Mapping | Absent)]
        if unknown and len(unknown) == len(answers):
            lines = [f"+ {_named(m)}" for m in self.manifests]
            return self._change(Kind.CREATE, NO_CLUSTER_YET, self.manifests, lines)
        wrong: list[Manifest] = []
        missing: list[Manifest] = []
        lines = []
        for manifest, answer in answers:
            if isinstance(answer, Mapping):
                found = differences(manifest, answer)
                if found:
                    wrong.append(manifest)
                    lines += [f"~ {_named(manifest)}", *(f"    {line}" for line in found)]
            else:
                missing.append(manifest)
                lines += [f"+ {_named(manifest)}", *(f"    + {line}" for line in shown_object(manifest))]
        gone = kept.dropped(facts) if (kept := self._kept()) else ()
        if not wrong and not missing and not gone and (kept is None or kept.is_noted(facts)):
            return None
        lines += [f"- {owned.shown()}" for owned in gone]
        applied = tuple(m for m in self.manifests if m in wrong or m in missing)
        kind = Kind.CREATE if missing and len(missing) == len(self.manifests) else Kind.UPDATE
        kind = kind if self.manifests else Kind.REMOVE
        reason = _reason(wrong, missing, gone) + (f": {self.parting}" if gone and self.parting else "")
        return self._change(kind, reason, applied, lines, gone)

    def _kept(self) -> Inventory | None:
        return Inventory(self.inventory, tuple(map(Owned.of, self.manifests))) if self.inventory else None

    def _change(
        self,
        kind: Kind,
        reason: str,
        manifests: tuple[Manifest, ...],
        lines: list[str],
        gone: tuple[Owned, ...] = (),
    ) -> Change:
        kept, actions = self._kept(), apply_actions(self.title, manifests, self.kubeconfig, self.deadline)
        if manifests:
            actions = (*self.before, *actions)
        if kept is not None:
            actions = (*((kept.note(gone, self.kubeconfig),) if self.manifests else ()), *actions)
            if gone:
                actions = (*actions, kept.remove(gone, self.kubeconfig, self.deadline))
                actions = (*actions, *((kept.note((), self.kubeconfig),) if self.manifests else ()))
            actions = (*actions, *(() if self.manifests else (kept.forget(self.kubeconfig),)))
        disruptive = self.disruptive or bool(gone)
        return Change(self.id, self.title, kind, reason, actions, "\n".join(lines), disruptive=disruptive)


def probe_of(manifest: Manifest) -> ApiObject:
    """The question for the object that a manifest describes."""
    meta = manifest["metadata"]
    return ApiObject(manifest["apiVersion"], manifest["kind"], meta["name"], meta.get("namespace", ""))


def _answer(facts: Facts, manifest: Manifest) -> object:
    probe: Probe[Mapping[str, Any]] = probe_of(manifest)
    return facts.answer(probe)


def _named(manifest: Manifest) -> str:
    meta = manifest["metadata"]
    return f"{manifest['kind']} {meta['namespace'] + '/' if meta.get('namespace') else ''}{meta['name']}"


def _reason(wrong: list[Manifest], missing: list[Manifest], gone: tuple[Owned, ...]) -> str:
    said = [f"{_some(wrong)} differ{'s' if len(wrong) == 1 else ''}"] if wrong else []
    said += [f"{_some(missing)} not there"] if missing else []
    said += [f"{len(gone)} no longer wanted"] if gone else []
    return "; ".join(said) or "not noted in the cluster as ours"


def _some(manifests: list[Manifest]) -> str:
    names = [_named(m) for m in manifests]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
