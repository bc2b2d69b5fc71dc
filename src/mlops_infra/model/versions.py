"""Which versions the platform is made of."""

from __future__ import annotations

from mlops_infra.model.base import Noun, Version

__all__ = ["Versions"]


class Versions(Noun):
    """Versions without a leading v, as their projects number them (the reference platform's are the defaults)."""

    kubernetes: Version = "1.31.4"
    """kubeadm, kubelet, kubectl and the control plane."""
    containerd: Version = "1.7.27"
    flannel: Version = "0.26.7"
    metallb: Version = "0.14.8"
    ingress_nginx: Version = "1.11.5"
    """The NGINX ingress controller."""
    traefik: Version = "3.7.13"
    """Where `ingress.controller` is `traefik`; 3.6.2 is the first that can stand in for ingress-nginx."""
    local_path: Version = "0.0.30"
    """local-path-provisioner."""
    metrics_server: Version = "0.7.2"
    prometheus: Version = "2.53.3"
    alertmanager: Version = "0.28.1"
    node_exporter: Version = "1.9.0"
    """On nodes; the load balancers have their distribution's own."""
    kube_state_metrics: Version = "2.13.0"
    grafana: Version = "11.2.0"
