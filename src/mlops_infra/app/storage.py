"""Classes of volumes, and what was claimed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_infra.app.api_silence import nothing_known
from mlops_infra.app.platform import Platform
from mlops_infra.core import API, ApiList, Facts

__all__ = ["Claim", "StorageClass", "StorageState", "look", "state_of"]

CLASSES = ApiList("storageclasses.storage.k8s.io")
CLAIMS = ApiList("persistentvolumeclaims")
VOLUMES = ApiList("persistentvolumes")
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class StorageClass:
    name: str
    provisioner: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """`node`: where a volume of local-path lies; empty for volumes that any node reaches."""

    namespace: str
    name: str
    phase: str
    storage_class: str
    size: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class StorageState:
    """`released`: volumes that nobody claims any more."""

    known: bool
    classes: tuple[StorageClass, ...] = ()
    claims: tuple[Claim, ...] = ()
    released: tuple[str, ...] = ()


def look(platform: Platform) -> StorageState:
    """Asked of the masters. Raises UnreachableError where no API server answers."""
    with platform.engine_over(host.name for host in platform.cluster.hosts.masters) as engine:
        state = state_of(engine.observe({API: frozenset({CLASSES, CLAIMS, VOLUMES})}).api)
    if not state.known:
        raise nothing_known("nothing is known of volumes")
    return state


def state_of(facts: Facts) -> StorageState:
    """From the API's answers. Pure."""
    classes, claims = facts.value(CLASSES), facts.value(CLAIMS)
    if classes is None or claims is None:
        return StorageState(known=False)
    volumes = {item["metadata"]["name"]: item for item in facts.value(VOLUMES) or ()}
    released = [name for name, item in volumes.items() if item.get("status", {}).get("phase") in ("Released", "Failed")]
    return StorageState(
        known=True,
        classes=tuple(_class(item) for item in classes),
        claims=tuple(_claim(item, volumes) for item in claims),
        released=tuple(released),
    )


def _class(item: Mapping[str, Any]) -> StorageClass:
    meta = item["metadata"]
    return StorageClass(
        meta["name"], item.get("provisioner", ""), (meta.get("annotations") or {}).get(_DEFAULT) == "true"
    )


def _claim(item: Mapping[str, Any], volumes: Mapping[str, Mapping[str, Any]]) -> Claim:
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    size = (status.get("capacity") or {}).get("storage") or spec["resources"]["requests"]["storage"]
    volume = volumes.get(spec.get("volumeName", ""), {})
    return Claim(
        meta["namespace"], meta["name"], status.get("phase", "Pending"), spec.get("storageClassName", ""), size,
        _node(volume),
    )  # fmt: skip


def _node(volume: Mapping[str, Any]) -> str:
    terms = volume.get("spec", {}).get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms") or ()
    for term in terms:
        for one in term.get("matchExpressions") or ():
            if one.get("key") == "kubernetes.io/hostname" and one.get("values"):
                return str(one["values"][0])
    return ""
