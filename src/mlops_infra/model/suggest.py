"""What somebody may have meant: the nearest key or value, also under the names that other tools use."""

from __future__ import annotations

import types
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mlops_infra.model.base import Noun
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.tree import Keys

__all__ = ["allowed_values", "keys_of", "nearest", "noun_at", "suggest_key"]

OTHER_NAMES = {
    "ansible_host": "address",
    "ip": "address",
    "ip_address": "address",
    "host": "address",
    "hostname": "name",
    "ansible_user": "user",
    "username": "user",
    "ansible_port": "port",
    "ansible_ssh_private_key_file": "identity",
    "identity_file": "identity",
    "key_filename": "identity",
    "private_key": "identity",
    "podsubnet": "pod_cidr",
    "pod_subnet": "pod_cidr",
    "pod_network_cidr": "pod_cidr",
    "cluster_cidr": "pod_cidr",
    "servicesubnet": "service_cidr",
    "service_subnet": "service_cidr",
    "dnsdomain": "dns_domain",
    "controlplaneendpoint": "control_plane_endpoint",
    "kubernetesversion": "kubernetes",
    "haproxy": "lb",
    "loadbalancers": "lb",
    "load_balancer": "lb",
    "control_plane": "masters",
    "control_planes": "masters",
    "nodes": "workers",
    "agents": "workers",
    "become": "sudo",
    "virtual_ip": "vip",
    "extraargs": "extra_args",
    "certsans": "cert_sans",
    "featuregates": "feature_gates",
}
"""Spellings of kubeadm, Ansible and kubespray (lower case) for keys of ours."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one; None where nothing is."""
    by_lower = {k.lower().replace("-", "_"): k for k in known}
    found = get_close_matches(word.lower().replace("-", "_"), by_lower, n=1, cutoff=0.65)
    return by_lower[found[0]] if found else None


def suggest_key(keys: Keys) -> str:
    """A hint for an unknown key: one of its section, perhaps by another tool's name, or where it belongs."""
    section, word = noun_at(keys[:-1]), str(keys[-1])
    known = keys_of(section) if section else []
    aliases = {alias: ours for alias, ours in OTHER_NAMES.items() if ours in known}
    if found := nearest(word, [*known, *aliases]):
        return f"did you mean `{aliases.get(found, found)}`?"
    elsewhere = {**{k: k for k in _all_places()}, **OTHER_NAMES}
    if (found := nearest(word, elsewhere)) and (places := _all_places().get(elsewhere[found])):
        where = " or ".join(f"`{p}`" for p in places[:2])
        if elsewhere[found] == word:
            return f"`{word}` belongs in {where}"
        return f"did you mean `{elsewhere[found]}`, which belongs in {where}?"
    return f"known here: {', '.join(known)}" if known else ""


def keys_of(noun: type[Noun]) -> list[str]:
    return list(noun.file_keys())


def noun_at(keys: Keys) -> type[Noun] | None:
    """The model of the section at this place; None where the keys are the user's own (labels, extra arguments …)."""
    current: Any = Cluster
    for key in keys:
        if isinstance(key, int):
            current = _element(current)
        elif isinstance(current, type) and issubclass(current, Noun) and key in current.file_keys():
            current = current.file_keys()[key].annotation
        else:
            return None
    return _noun(current)


def allowed_values(keys: Keys) -> list[str]:
    """The words that a setting accepts; empty where it is free."""
    parent = noun_at(keys[:-1])
    if parent is None or keys[-1] not in parent.file_keys():
        return []
    return _literals(parent.file_keys()[str(keys[-1])].annotation)


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(v) for v in get_args(annotation)]
    return [v for part in get_args(annotation) for v in _literals(part)]


def _noun(annotation: Any) -> type[Noun] | None:
    if isinstance(annotation, type) and issubclass(annotation, Noun):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return next((n for part in get_args(annotation) if (n := _noun(part))), None)
    return None


def _element(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        return get_args(annotation)[0]
    return next((e for part in get_args(annotation) if (e := _element(part))), None)


def _all_places() -> dict[str, list[str]]:
    """Each key of the file and the sections that have it."""
    places: dict[str, list[str]] = {}

    def walk(noun: type[Noun], at: str) -> None:
        for name, info in noun.file_keys().items():
            places.setdefault(name, []).append(f"{at}:" if at else "the top level")
            below = _noun(info.annotation) or _noun(_element(info.annotation))
            if below:
                walk(below, f"{at}.{name}" if at else name)

    walk(Cluster, "")
    return places
