"""What every host is set to, and what users add to kubelet, kubeadm and containerd."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mlops_infra.model.base import HostOrAddress, ModuleName, Noun, PackageName, SysctlKey, Text

__all__ = ["Containerd", "HostSettings", "Kubeadm", "Kubelet"]


class HostSettings(Noun):
    swap: Literal["off", "keep"] = "off"
    """`off` for good (fstab and units too), or `keep`."""
    sysctls: dict[SysctlKey, Text] = Field(default_factory=dict)
    """Added to ours; a key named here wins."""
    skip_sysctls: tuple[SysctlKey, ...] = ()
    """Of ours, those that are not to be set (a kernel that several hosts share has only one of some)."""
    modules: tuple[ModuleName, ...] = ()
    """Kernel modules besides ours."""
    time_sync: Literal["timesyncd", "chrony", "none"] = "timesyncd"
    """Which service keeps the clock; `none`: somebody else does."""
    time_servers: tuple[HostOrAddress, ...] = ()
    """NTP servers; empty: the distribution's."""
    chrony_options: str = ""
    """Put in DAEMON_OPTS of /etc/default/chrony."""
    extra_packages: tuple[PackageName, ...] = ()
    """Debian packages installed besides ours."""
    unattended_upgrades: Literal["exclude", "leave"] = "exclude"
    """`exclude`: unattended upgrades leave our packages alone."""


class Containerd(Noun):
    config: dict[str, Any] = Field(default_factory=dict)
    """Merged into our config.toml (version 2), deeply; what is named here wins."""
    max_open_files: int | None = None
    """The unit's `LimitNOFILE`; unset: the package's."""


class Kubelet(Noun):
    config: dict[str, Any] = Field(default_factory=dict)
    """KubeletConfiguration fields, merged into ours, deeply."""
    extra_args: dict[str, Text] = Field(default_factory=dict)
    """Flags of the kubelet that its configuration file does not have."""


class Kubeadm(Noun):
    ignore_preflight_errors: tuple[str, ...] = ()
    """Names of kubeadm's preflight errors to pass over."""
    feature_gates: dict[str, bool] = Field(default_factory=dict)
    """Of kubeadm itself."""
    cert_sans: tuple[HostOrAddress, ...] = ()
    """More names and addresses in the API server's certificate."""
    api_server_args: dict[str, Text] = Field(default_factory=dict)
    """Flags of the API server, without their dashes."""
    controller_manager_args: dict[str, Text] = Field(default_factory=dict)
    """Flags of the controller manager."""
    scheduler_args: dict[str, Text] = Field(default_factory=dict)
    """Flags of the scheduler."""
    etcd_args: dict[str, Text] = Field(default_factory=dict)
    """Flags of etcd."""
    kube_proxy: dict[str, Any] = Field(default_factory=dict)
    """KubeProxyConfiguration fields, merged into ours, deeply."""
