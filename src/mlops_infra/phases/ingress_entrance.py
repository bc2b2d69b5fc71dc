"""What stays when the ingress controller is another one: where it is reached, and which Ingresses are its own.

Services select pods of either controller by the same two labels, so while one takes over from the other both serve.
"""

from __future__ import annotations

from typing import Any

from mlops_infra.model.cluster import Cluster
from mlops_infra.phases.objects import metadata, namespace, port

__all__ = [
    "BALANCED",
    "CLASS",
    "NAMESPACE",
    "NODE_PORTS",
    "SELECTED",
    "balanced",
    "budget",
    "entrance",
    "home",
    "leaving_early",
    "selecting",
    "spread",
]

NAMESPACE = "ingress-nginx"
NODE_PORTS = "ingress-nginx-controller"
BALANCED = "ingress-nginx-controller-lb"
CLASS = "nginx"
SELECTED = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
"""Labels of the pods of a controller, whichever it is."""
_CLASS_OF = "k8s.io/ingress-nginx"
"""What the class says of its controller. It cannot be changed, and Traefik's provider takes it for its own."""


def home() -> dict[str, Any]:
    made = namespace(NAMESPACE)
    made["metadata"]["labels"] = {"app.kubernetes.io/name": "ingress-nginx"}
    return made


def entrance(cluster: Cluster) -> tuple[dict[str, Any], ...]:
    """Where there is no manifest of ingress-nginx to take them from: its namespace, node ports and class."""
    nodes = {"http": cluster.lb.ingress.http_node_port, "https": cluster.lb.ingress.https_node_port}
    numbers = {"http": 80, "https": 443}
    ports = [port(name, numbers[name], nodePort=nodes[name], appProtocol=name) for name in numbers]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(NODE_PORTS, NAMESPACE, labels=dict(SELECTED)),
        "spec": {"type": "NodePort", "ports": ports},
    }
    selecting(service)
    ingress_class = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": metadata(
            CLASS, labels=dict(SELECTED), annotations={"ingressclass.kubernetes.io/is-default-class": "true"}
        ),
        "spec": {"controller": _CLASS_OF},
    }
    return home(), service, ingress_class, balanced(), budget()


def selecting(service: dict[str, Any]) -> None:
    """The Service selects either controller. Only what a manifest names is compared with the cluster, and upstream's
    selector names more than ours: the label makes that one differ, and be applied."""
    service["spec"]["selector"] = dict(SELECTED)
    made = service["metadata"].setdefault("labels", {})
    made["mlops-infra.io/selects"] = "any-controller"


def balanced() -> dict[str, Any]:
    """At an address of MetalLB's. `Local`: the client's address stays, and when the announcing node dies the address
    moves to a node that has a controller, without a wait for the dead node's endpoints to be taken out."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(BALANCED, NAMESPACE, labels=dict(SELECTED)),
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "selector": dict(SELECTED),
            "ports": [port("http", 80, appProtocol="http"), port("https", 443, appProtocol="https")],
        },
    }


def budget() -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(NODE_PORTS, NAMESPACE, labels=dict(SELECTED)),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": dict(SELECTED)}},
    }


def spread(pod: dict[str, Any]) -> None:
    """One on each worker, as far as they reach."""
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "DoNotSchedule",
            # Masters, drained and dead nodes are no places: their taints say so.
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": dict(SELECTED)},
            # A roll-out is spread by itself, whatever the pods that it replaces stand on.
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]


def leaving_early(container: dict[str, Any]) -> None:
    """Its readiness is asked so often that a pod that was told to end, and says no, leaves the Services while it still
    serves. MetalLB moves the address from a node without another controller only then; until then it would be refused.
    """
    probe = container["readinessProbe"]
    # A slow answer is no answer that says no.
    probe |= {"periodSeconds": 2, "failureThreshold": 2, "timeoutSeconds": 5}
