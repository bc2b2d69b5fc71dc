"""The `ingress` phase: what serves Ingress objects, behind pinned node ports and at a LoadBalancer address.

The seam is narrow on purpose: `ingress.controller` names an implementation, and all that the rest of the platform knows
of it are the node ports of `lb.ingress` and the path of its health (`Cluster.ingress.health_path`).
"""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Phase, Resource
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import addon_phase, installed
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.ingress_nginx import CONTROLLER, NAMESPACE, SECRET, WEBHOOK, WEBHOOK_SERVICE, objects
from mlops_infra.render import render
from mlops_infra.resources import GuardedCommand, kubectl_prelude

__all__ = ["ingress_phase"]

NAME = "ingress"
_CERTIFICATE_DAYS = 3650


def ingress_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Its pods need workers: without any, as where it is switched off, only what was installed earlier goes."""
    resources: tuple[Resource, ...]
    if cluster.ingress.controller == "nginx" and cluster.hosts.workers:
        made = objects(context.manifest("ingress_nginx"), cluster)
        declared, ready = installed("NGINX ingress controller", made, inventory="ingress")
        resources = (declared, _certificate(), ready)
    else:
        resources = installed("Ingress controller", (), inventory="ingress")
    return addon_phase(cluster, context, name=NAME, title="Ingress controller", resources=resources)


def _certificate() -> GuardedCommand:
    """Upstream makes it with two jobs of an image of their own; the master can do it, and see when it ends."""
    names: dict[str, Any] = {
        "namespace": NAMESPACE,
        "secret": SECRET,
        "webhook": WEBHOOK,
        "service": WEBHOOK_SERVICE,
        "deployment": CONTROLLER,
        "days": _CERTIFICATE_DAYS,
    }
    return GuardedCommand(
        "ingress-admission-certificate",
        kubectl_prelude() + render("ingress/certificate-holds.sh.j2", **names),
        kubectl_prelude() + render("ingress/certificate.sh.j2", **names),
        summary="certificate of the ingress controller's webhook",
        reason="to be made",
    )
