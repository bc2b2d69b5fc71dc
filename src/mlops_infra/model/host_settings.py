"""What every host is set to, and what users add to kubelet, kubeadm and containerd."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mlops_infra.model.base import HostOrAddress, Noun, Text

__all__ = ["Containerd", "HostSettings", "Kubeadm", "Kubelet"]


class HostSettings(Noun):
    swap: Literal["off", "keep"] = "off"
    sysctls: dict[str, Text] = Field(default_factory=dict)
    """Added to ours; a key named here wins."""
    skip_sysctls: tuple[str, ...] = ()
    """Of ours, those that are not to be set (a kernel that several hosts share has only one of some)."""
    modules: tuple[str, ...] = ()
    time_sync: Literal["timesyncd", "chrony", "none"] = "timesyncd"
    time_servers: tuple[HostOrAddress, ...] = ()
    chrony_options: str = ""
    """Put in DAEMON_OPTS of /etc/default/chrony."""
    extra_packages: tuple[str, ...] = ()
    unattended_upgrades: Literal["exclude", "leave"] = "exclude"


class Containerd(Noun):
    config: dict[str, Any] = Field(default_factory=dict)
    """Merged into our config.toml (version 2), deeply; what is named here wins."""
    max_open_files: int | None = None


class Kubelet(Noun):
    config: dict[str, Any] = Field(default_factory=dict)
    """KubeletConfiguration fields, merged into ours, deeply."""
    extra_args: dict[str, Text] = Field(default_factory=dict)


class Kubeadm(Noun):
    ignore_preflight_errors: tuple[str, ...] = ()
    feature_gates: dict[str, bool] = Field(default_factory=dict)
    cert_sans: tuple[HostOrAddress, ...] = ()
    api_server_args: dict[str, Text] = Field(default_factory=dict)
    controller_manager_args: dict[str, Text] = Field(default_factory=dict)
    scheduler_args: dict[str, Text] = Field(default_factory=dict)
    etcd_args: dict[str, Text] = Field(default_factory=dict)
    kube_proxy: dict[str, Any] = Field(default_factory=dict)
    """KubeProxyConfiguration fields, merged into ours, deeply."""
