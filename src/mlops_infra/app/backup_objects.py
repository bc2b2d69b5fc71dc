"""Kubernetes objects as they could be applied again: what a server adds is stripped, what controllers make is apart.

Pure: from the API's lists to objects with a place in the tree.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from mlops_infra.errors import InfraError
from mlops_infra.render import to_yaml

__all__ = ["Dump", "Kept", "Reference", "parse_dump", "path_of", "stripped", "yaml_of"]

_METADATA = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "managedFields", "deletionTimestamp",
    "deletionGracePeriodSeconds",
)  # fmt: skip
_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
    "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller", "kubernetes.io/service-account.uid",
    "deprecated.daemonset.template.generation",
)  # fmt: skip
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")
_FLEETING = frozenset({"Event", "Lease", "ComponentStatus", "PodMetrics", "NodeMetrics"})
"""What lives minutes, or is computed when it is asked for: never kept."""
_MADE = frozenset(
    {"Node", "CertificateSigningRequest", "CSINode", "ControllerRevision", "VolumeAttachment", "IPAddress"}
)
"""What components make for themselves out of the state of hosts."""
_TYPES = frozenset({"CustomResourceDefinition"})


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """An object by its kind, group, namespace (empty: of the cluster) and name."""

    namespace: str
    group: str
    kind: str
    name: str

    def __str__(self) -> str:
        kind = f"{self.kind}.{self.group}" if self.group else self.kind
        return f"{self.namespace + '/' if self.namespace else ''}{kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Kept:
    """An object without what the server adds. `derived`: a controller made it from another; it is not applied again."""

    reference: Reference
    content: Mapping[str, Any] = field(repr=False)
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Dump:
    """`failed`: kinds that could not be listed."""

    ca_sha256: str
    objects: tuple[Kept, ...]
    failed: tuple[str, ...]


def parse_dump(text: str) -> Dump:
    """The answer to `objects.sh`. Raises InfraError for one that is cut."""
    lines = iter(text.splitlines())
    ca, objects, failed, whole = "", [], [], False
    for line in lines:
        if line == "end":
            whole = True
        elif line.startswith("# "):
            ca = line[2:]
        elif line.startswith("! "):
            failed.append(line[2:])
        elif line.startswith("@ "):
            version, kind, _, _ = line[2:].split(" ", 3)
            objects += list(_listed(next(lines, ""), version, kind))
    if not whole:
        raise InfraError("the list of objects is cut", cause="The link broke, or the master ran out of memory.")
    return Dump(ca, tuple(sorted(objects, key=lambda o: o.reference)), tuple(failed))


def _listed(text: str, version: str, kind: str) -> Iterator[Kept]:
    if kind in _FLEETING:
        return
    for item in json.loads(text).get("items") or ():
        item = {"apiVersion": version, "kind": kind, **item}  # noqa: PLW2901 - items of a list do not say it
        yield Kept(_reference(item), stripped(item), _is_derived(item))


def _reference(item: Mapping[str, Any]) -> Reference:
    meta = item["metadata"]
    group = item["apiVersion"].rpartition("/")[0]
    return Reference(meta.get("namespace", ""), group, item["kind"], meta["name"])


def _is_derived(item: Mapping[str, Any]) -> bool:
    meta, kind = item["metadata"], item["kind"]
    labels = meta.get("labels") or {}
    if kind in _MADE or any(owner.get("controller") for owner in meta.get("ownerReferences") or ()):
        return True
    if kind == "Pod":
        return "kubernetes.io/config.mirror" in (meta.get("annotations") or {})
    if kind == "EndpointSlice":
        return bool(labels.get("endpointslice.kubernetes.io/managed-by"))
    if kind == "Endpoints":
        return "endpoints.kubernetes.io/last-change-trigger-time" in (meta.get("annotations") or {}) or _is_kubernetes(
            meta
        )
    if kind == "APIService":
        return "kube-aggregator.kubernetes.io/automanaged" in labels
    if kind == "ConfigMap" and meta["name"] == "kube-root-ca.crt":
        return True
    return kind == "Service" and _is_kubernetes(meta)


def _is_kubernetes(meta: Mapping[str, Any]) -> bool:
    """The API's own Service, which the API server keeps."""
    return bool(meta["name"] == "kubernetes" and meta.get("namespace") == "default")


def stripped(item: Mapping[str, Any]) -> dict[str, Any]:
    """The object as somebody might have written it."""
    found = copy.deepcopy(dict(item))
    found.pop("status", None)
    meta = found["metadata"]
    for name in _METADATA:
        meta.pop(name, None)
    _without(meta, "annotations", _ANNOTATIONS)
    kept = [o for o in meta.get("ownerReferences") or () if not o.get("uid")]
    meta.pop("ownerReferences", None)
    if kept:
        meta["ownerReferences"] = kept
    special = _SPECIAL.get(found["kind"])
    if special is not None:
        special(found)
    first = {key: found.pop(key) for key in ("apiVersion", "kind", "metadata")}
    return {**first, **found}


def _without(holder: MutableMapping[str, Any], key: str, names: Iterable[str]) -> None:
    """`holder[key]` without these entries; gone when nothing is left."""
    inner = holder.get(key)
    if isinstance(inner, dict):
        for name in names:
            inner.pop(name, None)
        if not inner:
            holder.pop(key)


def _namespace(found: dict[str, Any]) -> None:
    _without(found, "spec", ("finalizers",))
    _without(found["metadata"], "labels", ("kubernetes.io/metadata.name",))


def _volume(found: dict[str, Any]) -> None:
    claim = (found.get("spec") or {}).get("claimRef")
    if claim:
        # The claim gets a new identity when it is made again; bound by name alone the volume finds it.
        for name in ("uid", "resourceVersion"):
            claim.pop(name, None)


def _job(found: dict[str, Any]) -> None:
    spec = found.get("spec") or {}
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
        template = (spec.get("template") or {}).get("metadata") or {}
        _without(template, "labels", _JOB_LABELS)
        _without(found["metadata"], "labels", _JOB_LABELS)


def _pod(found: dict[str, Any]) -> None:
    spec = found.get("spec") or {}
    spec.pop("nodeName", None)
    volumes = spec.get("volumes") or []
    tokens = {v["name"] for v in volumes if v["name"].startswith("kube-api-access-") and "projected" in v}
    spec["volumes"] = [v for v in volumes if v["name"] not in tokens]
    for container in [*spec.get("containers", ()), *spec.get("initContainers", ())]:
        container["volumeMounts"] = [m for m in container.get("volumeMounts", ()) if m["name"] not in tokens]
        if not container["volumeMounts"]:
            container.pop("volumeMounts")
    if not spec["volumes"]:
        spec.pop("volumes")


def _secret(found: dict[str, Any]) -> None:
    if found.get("type") == "kubernetes.io/service-account-token":
        found.pop("data", None)  # of an identity that is gone; the controller fills in a new one


_SPECIAL = {
    "Namespace": _namespace, "PersistentVolume": _volume, "Job": _job, "Pod": _pod, "Secret": _secret,
}  # fmt: skip


def path_of(one: Kept) -> str:
    """Where it lies in the tree: types first, then what is of the cluster, as `kubectl apply -R` reads it."""
    ref = one.reference
    kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
    top = "derived" if one.derived else "objects"
    if ref.namespace:
        return f"{top}/2-namespaces/{ref.namespace}/{kind}/{ref.name}.yaml"
    if ref.kind in _TYPES:
        return f"{top}/0-types/{ref.name}.yaml"
    # Namespaces before all else that is of the cluster: digits come before capitals.
    return f"{top}/1-cluster/{'0-' if kind == 'Namespace' else ''}{kind}/{ref.name}.yaml"


def yaml_of(one: Kept) -> bytes:
    return to_yaml(one.content).encode()
