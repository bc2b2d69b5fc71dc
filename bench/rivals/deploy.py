"""The host preparation of `mlops-infra up` (phases hosts and runtime) as a pyinfra user writes it, item by item."""

from pathlib import Path

from pyinfra import host
from pyinfra.operations import apt, files, server, systemd

FILES = Path(__file__).parent / "files"
REGISTRIES = ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io")
SYSCTLS = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")


def put(name: str, path: str) -> None:
    files.put(src=str(FILES / name), dest=path, mode="644", create_remote_dir=True)


files.directory(path="/var/lib/mlops-infra", mode="700")
files.line(path="/etc/hosts", line="10.110.190.21 api.mlops.internal")
put("mlops-infra.asc", "/etc/apt/keyrings/mlops-infra.asc")
put(f"{host.data.codename}.sources", "/etc/apt/sources.list.d/mlops-infra.sources")
put("52mlops-infra", "/etc/apt/apt.conf.d/52mlops-infra")
put("needrestart.conf", "/etc/needrestart/conf.d/mlops-infra.conf")
apt.packages(packages=["chrony"])
put("chrony", "/etc/default/chrony")
systemd.service(service="chrony", running=True, enabled=True)

if "nodes" in host.groups:
    apt.packages(packages=["ca-certificates", "openssl", "conntrack", "socat", "ethtool", "iptables", "curl"])
    put("modules.conf", "/etc/modules-load.d/mlops-infra.conf")
    put("sysctl.conf", "/etc/sysctl.d/90-mlops-infra.conf")
    for key in SYSCTLS:
        server.sysctl(key=key, value=1)
    files.line(path="/etc/fstab", line=r"^[^#].*\sswap\s.*$", present=False)
    put("containerd-limits.conf", "/etc/systemd/system/containerd.service.d/mlops-infra.conf")
    apt.packages(packages=["containerd.io"])
    put("config.toml", "/etc/containerd/config.toml")
    for registry in REGISTRIES:
        put(f"certs.d/{registry}/hosts.toml", f"/etc/containerd/certs.d/{registry}/hosts.toml")
    systemd.service(service="containerd", running=True, enabled=True)
    put("crictl.yaml", "/etc/crictl.yaml")
    apt.packages(packages=["kubelet", "kubeadm", "kubectl", "kubernetes-cni", "cri-tools"])
    files.link(path="/var/lib/mlops-infra/resolv.conf", target="/etc/resolv.conf")
    systemd.service(service="kubelet", enabled=True, running=None)
