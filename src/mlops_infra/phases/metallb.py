"""The `metallb` phase: MetalLB in L2 mode, its pools, and one advertisement for all of them."""

from __future__ import annotations

import copy
import json
from typing import Any

from mlops_infra.core import Phase, Resource, Shell
from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.addons import addon_phase, installed, moves_soon, named, unlike
from mlops_infra.phases.context import PhaseContext
from mlops_infra.render import parse_documents, render
from mlops_infra.resources import ApiObjects, kubectl_prelude

__all__ = ["ADVERTISEMENT", "NAMESPACE", "metallb_phase", "patched", "pending", "pools"]

NAME = "metallb"
NAMESPACE = "metallb-system"
ADVERTISEMENT = "default-l2-adv"
_API = "metallb.io/v1beta1"
_WEBHOOK_SECONDS = 180


def metallb_phase(cluster: Cluster, context: PhaseContext) -> Phase:
    """Its pods need workers: without any, as where it is switched off, only what was installed earlier goes."""
    resources: tuple[Resource, ...]
    if cluster.metallb.enabled and cluster.hosts.workers:
        objects = patched(context.manifest("metallb"))
        resources = (*installed("MetalLB", objects, inventory="metallb"), _pool_objects(pools(cluster)))
    else:
        # Pools first: their types go with the rest.
        resources = (_pool_objects(()), *installed("MetalLB", (), inventory="metallb"))
    return addon_phase(cluster, context, name=NAME, title="MetalLB", resources=resources)


def patched(manifest: bytes) -> tuple[dict[str, Any], ...]:
    """MetalLB's own manifest without the certificate that its controller replaces by one of its own.

    Applied with it, ours and the controller's would undo each other for ever. The controller leaves a dead node soon.
    """
    documents = copy.deepcopy(parse_documents(manifest.decode()))
    try:
        peers = named(documents, "CustomResourceDefinition", "bgppeers.metallb.io", what="MetalLB")
        peers["spec"]["conversion"]["webhook"]["clientConfig"].pop("caBundle", None)
        for hook in named(documents, "ValidatingWebhookConfiguration", "metallb-webhook-configuration", what="MetalLB")[
            "webhooks"
        ]:
            hook["clientConfig"].pop("caBundle", None)
        moves_soon(named(documents, "Deployment", "controller", what="MetalLB")["spec"]["template"]["spec"])
    except KeyError as error:
        raise unlike("MetalLB", f"no {error} where it was") from error
    for document in documents:
        document["metadata"].pop("creationTimestamp", None)
    return tuple(documents)


def pools(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """The pools of cluster.yaml as objects, and the advertisement of them all; none where there is no pool."""
    made: list[dict[str, Any]] = [
        {
            "apiVersion": _API,
            "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"addresses": list(ranges), "autoAssign": True, "avoidBuggyIPs": False},
        }
        for name, ranges in cluster.metallb.by_name()
    ]
    if made:
        names = [pool["metadata"]["name"] for pool in made]
        made.append(
            {
                "apiVersion": _API,
                "kind": "L2Advertisement",
                "metadata": {"name": ADVERTISEMENT, "namespace": NAMESPACE},
                "spec": {"ipAddressPools": names},
            }
        )
    return tuple(made)


def pending(cluster: Cluster) -> tuple[str, ...]:
    """What waits for a decision of the operator's, in a sentence: all else is installed without it."""
    if not cluster.metallb.enabled or not cluster.hosts.workers or pools(cluster):
        return ()
    waits = "the ingress controller's and all others" if cluster.ingress.controller != "none" else "all of them"
    return (
        f"pending: MetalLB has no pool, so Services of type LoadBalancer get no address ({waits} wait for "
        "`mlops-infra metallb set-pool RANGE`)",
    )


def _pool_objects(objects: tuple[dict[str, Any], ...]) -> ApiObjects:
    script = kubectl_prelude() + render("metallb/wait-webhook.sh.j2", namespace=NAMESPACE, seconds=_WEBHOOK_SECONDS)
    documents = b"".join(json.dumps(one).encode() + b"\n" for one in objects)
    wait = Shell("wait for MetalLB's webhook", script, _WEBHOOK_SECONDS + 60, documents)
    return ApiObjects("MetalLB's pools", objects, inventory="metallb-pools", before=(wait,))
