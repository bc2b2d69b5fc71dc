"""The `ingress` phase: what serves Ingress objects, behind pinned node ports and at a LoadBalancer address.

The seam is narrow on purpose: `ingress.controller` names an implementation, and all that the rest of the platform knows
of it are the node ports of `lb.ingress` and the path of its health (`Cluster.ingress.health_path`). Each controller
has a list of its own objects in the cluster, and goes only when the other serves.
"""

from __future__ import annotations

from typing import Any

from mlops_infra.core import Phase, Resource
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases import ingress_nginx, ingress_traefik
from mlops_infra.phases.addons import addon_phase, installed
from mlops_infra.phases.context import PhaseContext
from mlops_infra.phases.ingress_entrance import NAMESPACE, entrance, home
from mlops_infra.phases.ingress_nginx import CONTROLLER, SECRET, WEBHOOK, WEBHOOK_SERVICE
from mlops_infra.phases.ingress_traefik import TRAEFIK
from mlops_infra.render import render
from mlops_infra.resources import ApiObjects, ApiReady, GuardedCommand, kubectl_prelude

__all__ = ["ingress_phase"]

NAME = "ingress"
_CERTIFICATE_DAYS = 3650
_PARTING = "{} serves by then, at the same node ports and addresses"


def ingress_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Its pods need workers: without any, as where it is switched off, only what was installed earlier goes."""
    chosen = cluster.ingress.controller if cluster.hosts.workers else "none"
    made = {"nginx": _nginx, "traefik": _traefik}[chosen](cluster, context) if chosen != "none" else _none()
    return addon_phase(cluster, context, name=NAME, title="Ingress controller", resources=made)


def _nginx(cluster: Cluster, context: PhaseContext) -> tuple[Resource, ...]:
    """Traefik goes when all of this serves."""
    made = ingress_nginx.objects(context.manifest("ingress_nginx"), cluster)
    declared, ready = installed("NGINX ingress controller", made, inventory=NAME)
    return (
        declared,
        _certificate(),
        ready,
        ApiObjects("Traefik", (), inventory=TRAEFIK, parting=_PARTING.format("ingress-nginx")),
    )


def _traefik(cluster: Cluster, context: PhaseContext) -> tuple[Resource, ...]:
    """First its own objects, then what they are reached by: the list of the latter drops ingress-nginx's, and by then
    the pods that take over are ready. Where they do not become so, the run ends before it and ingress-nginx serves on.
    """
    del context
    made = ingress_traefik.objects(cluster)
    return (
        ApiObjects("Namespace of the ingress controller", (home(),)),
        ApiObjects("Traefik", made, inventory=TRAEFIK),
        ApiReady("Traefik ingress controller", tuple(o for o in made if o["kind"] == "Deployment")),
        ApiObjects(
            "Entrance of the ingress controller", entrance(cluster), inventory=NAME, parting=_PARTING.format("Traefik")
        ),
        _no_certificate(),
    )


def _none() -> tuple[Resource, ...]:
    return ApiObjects("Traefik", (), inventory=TRAEFIK), ApiObjects("Ingress controller", (), inventory=NAME)


def _no_certificate() -> GuardedCommand:
    """The webhook's key was made by a command, so no list names it."""
    secret = f"-n {NAMESPACE} get secret {SECRET} --ignore-not-found -o name"
    return GuardedCommand(
        "no-ingress-admission-certificate",
        kubectl_prelude() + f'[ -z "$(kubectl {secret} 2>/dev/null)" ] || {{ echo "it is still there"; exit 1; }}\n',
        kubectl_prelude() + f"kubectl -n {NAMESPACE} delete secret {SECRET} --ignore-not-found\n",
        summary="no certificate of a webhook that is gone",
        reason="to be taken away",
    )


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
