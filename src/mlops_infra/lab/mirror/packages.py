"""The packages of pkgs.k8s.io and of Docker, made from built binaries: same names, versions, files and relations.

Layout and relations of the Kubernetes packages follow the specs in kubernetes/release (cmd/krel/templates/latest);
those of containerd.io what Docker's package for Debian installs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlops_infra.lab.mirror.deb import Deb, DebFile

PLATFORM_PACKAGES = ("kubelet", "kubeadm", "kubectl", "cri-tools", "kubernetes-cni", "containerd.io")
"""A mirror keeps every version of these that was ever put into it: an upgrade needs the next beside the present one."""

__all__ = ["PLATFORM_PACKAGES", "PackageVersions", "containerd_package", "kubernetes_packages"]


@dataclass(frozen=True, slots=True)
class PackageVersions:
    kubernetes: str
    containerd: str
    cri_tools: str = "1.31.1"
    cni: str = "1.5.1"
    kubernetes_revision: str = "1.1"
    containerd_revision: str = "1"


KUBELET_UNIT = """\
[Unit]
Description=kubelet: the Kubernetes node agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
"""

KUBEADM_DROP_IN = """\
# Settings that `kubeadm init` and `kubeadm join` write while they run.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""  # noqa: E501

KUBELET_DEPENDS = "iptables (>= 1.4.21), kubernetes-cni (>= 1.2.0), iproute2, mount, util-linux, ethtool, conntrack"

CONTAINERD_UNIT = """\
[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target local-fs.target

[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
"""

CONTAINERD_CONFIG = """\
# As Docker ships it: good for Docker, without the plugin that Kubernetes talks to.
disabled_plugins = ["cri"]
"""


def _enable(unit: str, *, start: bool) -> dict[str, str]:
    """Maintainer scripts that treat a unit as Debian's own packages do (policy-rc.d and masks are respected)."""
    then = (
        f"""    if [ -n "$2" ]; then action=try-restart; else action=start; fi
    deb-systemd-invoke "$action" {unit} >/dev/null || true
"""
        if start
        else ""
    )
    return {
        "postinst": f"""#!/bin/sh
set -e
if [ "$1" = configure ] && command -v deb-systemd-helper >/dev/null; then
  deb-systemd-helper unmask {unit} >/dev/null || true
  if deb-systemd-helper --quiet was-enabled {unit}; then deb-systemd-helper enable {unit} >/dev/null || true; fi
  deb-systemd-helper update-state {unit} >/dev/null || true
  if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
{then}  fi
fi
""",
        "prerm": f"""#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then deb-systemd-invoke stop {unit} >/dev/null || true; fi
""",
        "postrm": f"""#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl --system daemon-reload >/dev/null || true; fi
if [ "$1" = purge ] && command -v deb-systemd-helper >/dev/null; then
  deb-systemd-helper purge {unit} >/dev/null || true
fi
""",
    }


def kubernetes_packages(versions: PackageVersions, kubernetes: Path, crictl: Path, cni: Path) -> tuple[Deb, ...]:
    """What pkgs.k8s.io serves for one release. The arguments are directories that hold the binaries."""
    version = f"{versions.kubernetes}-{versions.kubernetes_revision}"
    units = "/usr/lib/systemd/system"
    kubelet_files = (
        DebFile("/usr/bin/kubelet", kubernetes / "kubelet", 0o755),
        DebFile(f"{units}/kubelet.service", KUBELET_UNIT.encode()),
        DebFile("/etc/default/kubelet", b"KUBELET_EXTRA_ARGS=\n", conffile=True),
        DebFile("/etc/kubernetes/manifests/.kubelet-keep", b""),
        DebFile("/var/lib/kubelet/.kubelet-keep", b""),
    )
    kubeadm_files = (
        DebFile("/usr/bin/kubeadm", kubernetes / "kubeadm", 0o755),
        DebFile(f"{units}/kubelet.service.d/10-kubeadm.conf", KUBEADM_DROP_IN.encode()),
    )
    return (
        Deb(
            "kubelet", version, "Node agent for Kubernetes clusters", kubelet_files,
            {"Depends": KUBELET_DEPENDS},
            scripts=_enable("kubelet.service", start=False),
        ),
        Deb(
            "kubeadm", version, "Command-line utility for administering a Kubernetes cluster", kubeadm_files,
            {"Depends": "cri-tools (>= 1.30.0)"}, section="admin",
        ),
        Deb(
            "kubectl", version, "Command-line utility for interacting with a Kubernetes cluster",
            (DebFile("/usr/bin/kubectl", kubernetes / "kubectl", 0o755),), section="admin",
        ),
        Deb(
            "cri-tools", f"{versions.cri_tools}-{versions.kubernetes_revision}",
            "Command-line utility for container runtimes (lab stand-in for crictl)",
            (DebFile("/usr/bin/crictl", crictl / "crictl", 0o755),), section="admin",
        ),
        Deb(
            "kubernetes-cni", f"{versions.cni}-{versions.kubernetes_revision}",
            "Binaries required to provision networking",
            tuple(_binaries(cni, "/opt/cni/bin")),
        ),
    )  # fmt: skip


def containerd_package(versions: PackageVersions, containerd: Path, runc: Path) -> Deb:
    """Docker's containerd.io, which brings its own runc: here the distribution's."""
    return Deb(
        "containerd.io",
        f"{versions.containerd}-{versions.containerd_revision}",
        "An open and reliable container runtime",
        (
            *_binaries(containerd, "/usr/bin"),
            DebFile("/usr/bin/runc", runc, 0o755),
            DebFile("/etc/containerd/config.toml", CONTAINERD_CONFIG.encode(), conffile=True),
            DebFile("/usr/lib/systemd/system/containerd.service", CONTAINERD_UNIT.encode()),
        ),
        {
            "Depends": "libc6, libseccomp2",
            "Provides": "containerd, runc",
            "Conflicts": "containerd, runc",
            "Replaces": "containerd, runc",
        },
        section="devel",
        scripts=_enable("containerd.service", start=True),
    )


def _binaries(directory: Path, target: str) -> Iterable[DebFile]:
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.suffix != ".json":
            yield DebFile(f"{target}/{path.name}", path, 0o755)
