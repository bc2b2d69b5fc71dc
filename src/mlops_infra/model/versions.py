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
