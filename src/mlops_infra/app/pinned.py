"""Whether the manifests that a file asks for are among those that this release has pinned."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_infra.model.cluster import Cluster
from mlops_infra.model.finding import Finding
from mlops_infra.model.releases import parse_version
from mlops_infra.model.suggest import nearest
from mlops_infra.render.catalogue import ARTIFACTS

__all__ = ["check_pinned"]


def check_pinned(cluster: Cluster) -> Iterator[Finding]:
    """The model cannot tell: what is pinned is `render`'s. Versions of what is not installed do not matter."""
    workers = bool(cluster.hosts.workers)
    asked = {
        "flannel": ("Flannel", cluster.network.cni == "flannel"),
        "metallb": ("MetalLB", cluster.metallb.enabled and workers),
        "ingress_nginx": ("ingress-nginx", cluster.ingress.controller == "nginx" and workers),
    }
    for name, (title, is_wanted) in asked.items():
        version: str = getattr(cluster.versions, name)
        known = sorted((a.version for a in ARTIFACTS if a.name == name), key=lambda v: parse_version(v) or (0,))
        if not is_wanted or version in known:
            continue
        there = f"it knows {', '.join(known)}"
        # The newest: the one that is spelt most alike may lack a security fix.
        hint = f"did you mean `{known[-1]}`? {there}" if nearest(version, known) else there
        yield Finding(("versions", name), f"{title} {version} is not known to this release of mlops-infra", hint)
