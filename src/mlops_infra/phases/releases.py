"""What a Kubernetes release fixes for us: the sandbox image and the feature gates that a new cluster is made with."""

from __future__ import annotations

__all__ = ["creation_feature_gates", "minor_of", "pause_image"]

# `kubeadm config images list` of each minor; containerd's built-in default is an older one (1.7.27: 3.8).
_PAUSE = {30: "3.9", 31: "3.10", 32: "3.10", 33: "3.10", 34: "3.10.1", 35: "3.10.1"}


def minor_of(version: str) -> int:
    """31 for `1.31.4`."""
    return int(version.split(".")[1])


def pause_image(kubernetes: str) -> str:
    """The sandbox image that kubeadm of this version expects."""
    minor = minor_of(kubernetes)
    tag = _PAUSE.get(minor) or _PAUSE[max(_PAUSE) if minor > max(_PAUSE) else min(_PAUSE)]
    return f"registry.k8s.io/pause:{tag}"


def creation_feature_gates(kubernetes: str) -> dict[str, bool]:
    """kubeadm's feature gates for a new cluster.

    ControlPlaneKubeletLocalMode: without it a kubelet that is upgraded before its own API server speaks, through the
    load balancer, to one older than itself and starts no pods. Off by default in 1.31 and 1.32, on in 1.33, gone in
    1.36 (kubeadm refuses gates it does not know). Sources: kubernetes#127316, kubernetes-sigs/kind#4209.
    """
    return {"ControlPlaneKubeletLocalMode": True} if minor_of(kubernetes) in (31, 32) else {}
