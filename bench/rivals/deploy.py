"""The host preparation of `mlops-infra up` (phases hosts and runtime) as a pyinfra user writes it, item by item.

`files/` is fetched by bench/noop.py from a host that mlops-infra has prepared. What pyinfra has no operation for is
asked for as a fact, and changed only where the answer is wrong.
"""

from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

FILES = Path.cwd() / "files"
REGISTRIES = ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io")
HELD = ("containerd.io", "cri-tools", "kubeadm", "kubectl", "kubelet", "kubernetes-cni")
IS_NODE = "nodes" in host.groups


def put(name: str, path: str, mode: str = "644") -> None:
    files.put(src=str(FILES / name), dest=path, mode=mode)


def mend(question: str, right: str, *commands: str) -> None:
    """Runs the commands where a shell line does not answer what it should."""
    if (host.get_fact(Command, f"{{ {question}; }} || true") or "").split() != right.split():
        server.shell(commands=list(commands))


files.directory(path="/var/lib/mlops-infra", mode="700")
files.block(path="/etc/hosts", content=host.data.endpoint, marker="# {mark} mlops-infra", begin="BEGIN", end="END")
put("mlops-infra.asc", "/etc/apt/keyrings/mlops-infra.asc")
put(f"{host.data.codename}.sources", "/etc/apt/sources.list.d/mlops-infra.sources")
mend(
    "grep -hs '^[[:space:]]*deb' /etc/apt/sources.list /etc/apt/sources.list.d/*.list | grep -F /apt/",
    "",
    "sed -i 's|^deb.*/apt/|# &|' /etc/apt/sources.list",
)
put("52mlops-infra", "/etc/apt/apt.conf.d/52mlops-infra")
put("needrestart.conf", "/etc/needrestart/conf.d/mlops-infra.conf")
apt.packages(packages=[*host.data.base_packages, "chrony"])
put("chrony", "/etc/default/chrony")
systemd.service(service="chrony", running=True, enabled=True)

if IS_NODE:
    put("modules.conf", "/etc/modules-load.d/mlops-infra.conf")
    mend(
        "grep -qw overlay /proc/filesystems && test -e /proc/sys/net/bridge/bridge-nf-call-iptables"
        " && test -e /proc/sys/net/netfilter/nf_conntrack_max && echo yes",
        "yes",
        "modprobe -a overlay br_netfilter nf_conntrack",
    )
    put("sysctl.conf", "/etc/sysctl.d/90-mlops-infra.conf")
    for key, value in host.data.sysctls.items():
        server.sysctl(key=key, value=value)
    files.line(path="/etc/fstab", line=r"^[^#].*\sswap\s.*$", present=False)
    mend("tail -n +2 /proc/swaps", "", "swapoff -a")
    mend("systemctl is-enabled swap.target", "masked", "systemctl mask swap.target")
    files.file(path="/usr/lib/systemd/system-generators/zram-generator", present=False)
    put("containerd-limits.conf", "/etc/systemd/system/containerd.service.d/mlops-infra.conf")
    apt.packages(packages=host.data.platform_packages)
    mend("apt-mark showhold", " ".join(HELD), f"apt-mark hold {' '.join(HELD)}")
    put("config.toml", "/etc/containerd/config.toml")
    for registry in REGISTRIES:
        put(f"certs.d/{registry}/hosts.toml", f"/etc/containerd/certs.d/{registry}/hosts.toml")
    systemd.service(service="containerd", running=True, enabled=True)
    put("crictl.yaml", "/etc/crictl.yaml")
    files.link(path="/var/lib/mlops-infra/resolv.conf", target="/etc/resolv.conf")
    systemd.service(service="kubelet", enabled=True, running=None)
    put(
        "prepull-master" if "masters" in host.groups else "prepull-worker",
        "/var/lib/mlops-infra/prepull",
        mode="755",
    )
    mend("test -e /etc/kubernetes/kubelet.conf && echo yes", "yes", "/var/lib/mlops-infra/prepull")
