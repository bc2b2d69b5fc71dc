"""Objects of the Kubernetes API, applied server-side under our own field manager."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.core import Absent, ApiObject, Change, Facts, Kind, Probe, Shell
from mlops_infra.resources.api_apply import apply_actions
from mlops_infra.resources.api_leaves import differences, shown_object

__all__ = ["ApiObjects", "probe_of"]

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ApiObjects:
    """Manifests that must hold in the API, in this order; judged by our own leaves only (architecture.md 2).

    Secrets' values are masked wherever they could be shown. `deadline` is for one apply, seconds.
    """

    name: str
    manifests: tuple[Manifest, ...] = field(repr=False)
    kubeconfig: str = "/etc/kubernetes/admin.conf"
    deadline: int = 180
    disruptive: bool = False

    @property
    def id(self) -> str:
        return f"api:{self.name}"

    @property
    def title(self) -> str:
        return f"{self.name} in the API"

    def probes(self) -> frozenset[Probe[Any]]:
        return frozenset(probe_of(m) for m in self.manifests)

    def diff(self, facts: Facts) -> Change | None:
        answers = [(m, _answer(facts, m)) for m in self.manifests]
        unknown = [m for m, answer in answers if not isinstance(answer, Mapping | Absent)]
        if unknown and len(unknown) == len(answers):
            lines = [f"+ {_named(m)}" for m in self.manifests]
            return self._change(Kind.CREATE, "cluster does not exist yet", self.manifests, lines)
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
        if not wrong and not missing:
            return None
        applied = tuple(m for m in self.manifests if m in wrong or m in missing)
        kind = Kind.CREATE if len(missing) == len(self.manifests) else Kind.UPDATE
        return self._change(kind, _reason(wrong, missing), applied, lines)

    def _change(self, kind: Kind, reason: str, manifests: tuple[Manifest, ...], lines: list[str]) -> Change:
        actions: tuple[Shell, ...] = apply_actions(self.title, manifests, self.kubeconfig, self.deadline)
        return Change(self.id, self.title, kind, reason, actions, "\n".join(lines), disruptive=self.disruptive)


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


def _reason(wrong: list[Manifest], missing: list[Manifest]) -> str:
    said = [f"{_some(wrong)} differ{'s' if len(wrong) == 1 else ''}"] if wrong else []
    said += [f"{_some(missing)} not there"] if missing else []
    return "; ".join(said)


def _some(manifests: list[Manifest]) -> str:
    names = [_named(m) for m in manifests]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
