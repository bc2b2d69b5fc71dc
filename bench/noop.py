"""A run that finds nothing to do on the seven hosts of the reference platform, whole processes, in turns.

    python bench/noop.py [ROUNDS [ROUNDS_OF_THE_SLOW]]

`mlops-infra --lab up --yes` looks at everything: host preparation, load balancer, control plane, kubeadm's files, the
API. `hosts apply` looks at the host preparation only, as Ansible (pipelining, forks 20, no host key checking) and
pyinfra do, the same items one by one (bench/rivals). These run in the lab's network, from a virtual environment of
their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import Run, median, run, table
from own_lab import LB, MASTERS, NODES, PROGRAM, WORKERS, Lab, bench_lab
from results import publish

PINNED = ("ansible-core==2.19.14", "pyinfra==3.10.0")
RIVALS = Path(__file__).parent / "rivals"
BASE = ("ca-certificates", "openssl")
NODE_BASE = (*BASE, "conntrack", "ethtool", "iptables", "socat")
PLATFORM = ("containerd.io", "kubelet", "kubeadm", "kubectl", "kubernetes-cni", "cri-tools")
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
    "net.ipv4.ip_local_reserved_ports": "30000-32767",
}
FETCHED = {
    "mlops-infra.asc": "/etc/apt/keyrings/mlops-infra.asc",
    "52mlops-infra": "/etc/apt/apt.conf.d/52mlops-infra",
    "needrestart.conf": "/etc/needrestart/conf.d/mlops-infra.conf",
    "chrony": "/etc/default/chrony",
    "modules.conf": "/etc/modules-load.d/mlops-infra.conf",
    "sysctl.conf": "/etc/sysctl.d/90-mlops-infra.conf",
    "containerd-limits.conf": "/etc/systemd/system/containerd.service.d/mlops-infra.conf",
    "config.toml": "/etc/containerd/config.toml",
    "crictl.yaml": "/etc/crictl.yaml",
    "prepull-worker": "/var/lib/mlops-infra/prepull",
    **{
        f"certs.d/{name}/hosts.toml": f"/etc/containerd/certs.d/{name}/hosts.toml"
        for name in ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io")
    },
}
CONFIG = """\
[defaults]
host_key_checking = False
forks = 20
interpreter_python = /usr/bin/python3
[ssh_connection]
pipelining = True
"""


def rivals_environment() -> Path:
    """The bin directory of a virtual environment with both rivals, at these versions."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlops-infra/bench-venv"
    if not (base / "bin/pyinfra").exists() or not (base / "bin/ansible-playbook").exists():
        subprocess.run([sys.executable, "-m", "venv", base], check=True)
        subprocess.run([base / "bin/pip", "install", "-q", *PINNED], check=True)
    return base / "bin"


def prepare(lab: Lab, work: Path) -> None:
    """Python for Ansible on the hosts; the files that are there, and both inventories."""
    lab.everywhere(
        "export DEBIAN_FRONTEND=noninteractive; python3 -c 'import apt' 2>/dev/null ||"
        " { apt-get update -q && apt-get install -qy --no-install-recommends python3 python3-apt; } >&2"
    )
    for name, path in FETCHED.items():
        file = work / "files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(lab.root("worker-1", f"cat {path}"))
    (work / "files/prepull-master").write_text(lab.root("master-1", f"cat {FETCHED['prepull-worker']}"))
    codenames = {host.name: host.codename for host in lab.twin.hosts}
    for name, codename in codenames.items():
        (work / f"files/{codename}.sources").write_text(
            lab.root(name, "cat /etc/apt/sources.list.d/mlops-infra.sources")
        )
    asked = lab.everywhere(f"dpkg-query -Wf '${{Package}}=${{Version}}\\n' {' '.join(PLATFORM)}", NODES)
    settings: dict[str, dict[str, Any]] = {
        host.name: {
            "ansible_host": host.address,
            "ansible_user": host.ssh_user,
            "ansible_ssh_private_key_file": str(lab.key),
            "ansible_become": True,
            "endpoint": _block(lab, host.name),
            "codename": host.codename,
            "sysctls": SYSCTLS,
            "base_packages": [*(BASE if host.name == LB else NODE_BASE), *(["curl"] if host.name in MASTERS else [])],
            "platform_packages": asked[host.name].split() if host.name in NODES else [],
        }
        for host in lab.twin.hosts
    }
    groups = {"lb": (LB,), "masters": MASTERS, "workers": WORKERS, "nodes": NODES}
    children = {group: {"hosts": dict.fromkeys(names)} for group, names in groups.items()}
    inventory = {"all": {"hosts": settings, "children": children}}
    (work / "inventory.json").write_text(json.dumps(inventory))
    (work / "inventory.py").write_text(_pyinfra_inventory(settings, groups))
    (work / "ansible.cfg").write_text(CONFIG)
    for rival in RIVALS.glob("*.*"):
        shutil.copyfile(rival, work / rival.name)


def _block(lab: Lab, host: str) -> str:
    found = re.search(r"# BEGIN mlops-infra\n(.*?)\n# END", lab.root(host, "cat /etc/hosts"), re.S)
    return found[1] if found else ""


def _pyinfra_inventory(settings: dict[str, dict[str, Any]], groups: dict[str, tuple[str, ...]]) -> str:
    lines = []
    for group, names in groups.items():
        told = []
        for name in names:
            one = settings[name]
            data = {k: v for k, v in one.items() if not k.startswith("ansible_")}
            data |= {
                "ssh_hostname": one["ansible_host"],
                "ssh_user": one["ansible_user"],
                "ssh_key": one["ansible_ssh_private_key_file"],
                "ssh_strict_host_key_checking": "off",
                # Of its own: pyinfra keeps what it has seen, and a lab made anew has other keys.
                "ssh_known_hosts_file": "/dev/null",
                "_sudo": True,
            }
            told.append((name, data))
        lines.append(f"{group} = {told!r}")
    return "\n".join(lines) + "\n"


def commands(lab: Lab, work: Path, binaries: Path) -> dict[str, tuple[Callable[[], Run], Path]]:
    """Name → how to run it once, and where its output lies."""
    logs = {name: work / f"{name}.log" for name in ("ours", "hosts", "ansible", "pyinfra")}
    env = {"ANSIBLE_CONFIG": str(work / "ansible.cfg"), "NO_COLOR": "1"}
    ansible = lab.inside(str(binaries / "ansible-playbook"), "-i", "inventory.json", "playbook.yml")
    pyinfra = lab.inside(str(binaries / "pyinfra"), "-y", "inventory.py", "deploy.py")

    def once(name: str, argv: list[str], cwd: Path) -> Callable[[], Run]:
        def go() -> Run:
            logs[name].unlink(missing_ok=True)
            return run(argv, cwd=cwd, log=logs[name], env=env)

        return go

    return {
        "mlops-infra --lab up --yes": (once("ours", [PROGRAM, "--lab", "up", "--yes"], lab.directory), logs["ours"]),
        "mlops-infra --lab hosts apply --yes (host preparation only)": (
            once("hosts", [PROGRAM, "--lab", "hosts", "apply", "--yes"], lab.directory),
            logs["hosts"],
        ),
        "ansible-playbook (host preparation only)": (once("ansible", ansible, work), logs["ansible"]),
        "pyinfra (host preparation only)": (once("pyinfra", pyinfra, work), logs["pyinfra"]),
    }


def check_unchanged(name: str, log: Path) -> str:
    """What the log says went beyond a look; empty when nothing did."""
    text = log.read_text()
    if name.startswith("ansible"):
        recap = re.findall(r"^\S+\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", text, re.M)
        return "" if recap and all(set(r) == {"0"} for r in recap) else text[-1500:]
    if name.startswith("pyinfra"):
        found = re.search(r"^\s*Grand total\s+\S+\s+(\S+)\s+(\S+)\s+(\S+)", text, re.M)
        return "" if (found and found[1] == "-") or "No changes" in text else text[-2500:]
    return "" if "Nothing to do" in text else text[-1500:]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    slow = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with bench_lab() as lab, tempfile.TemporaryDirectory(prefix="mlops-infra-rivals-") as directory:
        work = Path(directory)
        lab.ensure_platform()
        binaries = rivals_environment()
        prepare(lab, work)
        todo = commands(lab, work, binaries)
        for name, (go, log) in todo.items():  # the first round is not counted, and may mend what differs
            first = go()
            print(f"{name}: {first.wall:.2f} s, exit {first.rc}", flush=True)
            if first.rc:
                raise SystemExit(log.read_text()[-3000:])
        results: dict[str, list[Run]] = {name: [] for name in todo}
        at = {round(rounds * (k + 0.5) / slow) for k in range(slow)}
        wrong = []
        for number in range(rounds):
            for name, (go, log) in todo.items():
                if not name.startswith("mlops-infra") and number not in at:
                    continue
                results[name].append(go())
                if problem := check_unchanged(name, log):
                    wrong.append(f"{name} changed something:\n{problem}")
    ours, prepared, ansible, pyinfra = (median(runs) for runs in results.values())
    publish(
        "noop",
        "Nothing to do, seven hosts",
        [
            table(results),
            "",
            f"- {ansible / ours:.1f}× faster than Ansible, all of ours beside its host preparation (to reach: 40×)",
            f"- {pyinfra / prepared:.1f}× faster than pyinfra on the same items (to reach: 5×); "
            f"{pyinfra / ours:.1f}× with all of ours beside its host preparation",
            f"- {ours:.2f} s with the API included (to reach: at most 2.5 s)",
        ],
    )
    print("\n".join(wrong))
    return 1 if wrong or ansible / ours < 40 or pyinfra / prepared < 5 or ours > 2.5 else 0


if __name__ == "__main__":
    sys.exit(main())
