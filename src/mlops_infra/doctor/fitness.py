"""Whether a machine is one that carries its role: system and size; and where its packages come from."""

from __future__ import annotations

import re
from typing import Any

from mlops_infra.core import Probe
from mlops_infra.doctor.check import NODES, OK, Check, Finding, Severity, Skipped, Verdict, on_host
from mlops_infra.doctor.hosts import brief_of, changes_of, drifted, evidence_of
from mlops_infra.doctor.probes import MACHINE, SYSTEM, said
from mlops_infra.doctor.view import View
from mlops_infra.model.cluster import Cluster
from mlops_infra.model.hosts import Host
from mlops_infra.phases.distribution import ARCHITECTURES, SUPPORTED, is_supported
from mlops_infra.phases.preflight import NEEDS

__all__ = ["FITNESS"]

_MIB = 1024 * 1024
_REPOSITORY = re.compile(r"^(?P<file>[^:]+):.*/core:/stable:/v(?P<minor>\d+\.\d+)")
_APT = (r"^apt-repository:",)
_UNATTENDED = (r"^file:/etc/apt/apt\.conf\.d/",)


def _system(view: View, host: str) -> Verdict:
    system = view.facts(host).value(SYSTEM)
    if system is None:
        return Skipped("the system was not told")
    name = f"{system.os_id} {system.os_version}".strip()
    if system.arch not in ARCHITECTURES:
        brief = f"the architecture {system.arch} is not supported"
    elif not is_supported(system.os_id, system.os_version):
        brief = f"{name or 'an unknown system'} is not supported"
    else:
        return OK
    known = ", ".join(f"{distribution.capitalize()} {version}" for distribution, version, _ in SUPPORTED)
    return Finding(
        brief,
        f"/etc/os-release: {name}; {system.arch}",
        "the machine was upgraded or installed anew; package names and services are known of a few releases alone",
        f"install one of {known} (amd64 or arm64), then mlops-infra up --limit {host}",
    )


def _size(view: View, host: str) -> Verdict:
    system = view.facts(host).value(SYSTEM)
    if system is None:
        return Skipped("the machine was not told")
    role = view.cluster.role(host)
    cpus, memory, _ = NEEDS[role]
    short = []
    if system.cpus < cpus:
        short.append(f"{system.cpus} CPU of {cpus}")
    if system.memory < memory * _MIB:
        short.append(f"{system.memory // _MIB} MiB of memory of {memory}")
    if not short:
        return OK
    return Finding(
        f"it is too small for a {role}: {', '.join(short)}",
        "",
        "the machine was made smaller than it was when it joined, or a module of memory is gone",
        f"give {host} more, and reboot it",
    )


def _repository(view: View, host: str) -> Verdict:
    changes = changes_of(view, host, *_APT)
    if changes:
        return Finding(
            brief_of(changes),
            evidence_of(changes),
            "the file or its key was edited or removed: packages come from elsewhere, or not at all",
            f"mlops-infra up --limit {host}",
        )
    lines = said(view.facts(host), MACHINE)
    if lines is None:
        return Skipped("the package sources were not told")
    wanted = ".".join(view.cluster.versions.kubernetes.split(".")[:2])
    found = [match for line in lines.get("repository", ()) if (match := _REPOSITORY.match(line))]
    strange = sorted({m["file"] for m in found if m["minor"] != wanted})
    if not strange:
        return OK
    return Finding(
        f"packages of another Kubernetes than {wanted} are offered by {', '.join(strange)}",
        "\n".join(m.string for m in found)[:800],
        "left behind by an older installation, or put there by hand; an unheld package is upgraded from it",
        on_host(host, f"rm {' '.join(strange)}"),
    )


def _machine(cluster: Cluster, host: Host) -> frozenset[Probe[Any]]:
    del cluster, host
    return frozenset({MACHINE, SYSTEM})


FITNESS: tuple[Check, ...] = (
    Check(
        "host.os",
        "Is the system one that we know?",
        Severity.ERROR,
        _system,
        "Debian 12 and 13, Ubuntu 22.04 and 24.04, on amd64 or arm64. `up` refuses others.",
        needs=_machine,
    ),
    Check(
        "host.resources",
        "Is the machine large enough for its role?",
        Severity.ERROR,
        _size,
        "What `up` asks for before it begins: of a master 2 CPUs and 1700 MiB, of a worker 1 and 1000, of a load "
        "balancer 1 and 256.",
        needs=_machine,
    ),
    Check(
        "host.repository",
        "Do packages come from where they should?",
        Severity.WARNING,
        _repository,
        "Compares our package sources and their keys with what `up` writes, and looks for sources of another minor of "
        "Kubernetes in files that are not ours.",
        roles=NODES,
        needs=_machine,
        plan=True,
        claims=_APT,
    ),
    Check(
        "host.unattended",
        "Do unattended upgrades leave our packages alone?",
        Severity.WARNING,
        drifted("the file was edited or removed: the next night's upgrade may restart containerd", *_UNATTENDED),
        "`host.unattended_upgrades: exclude` names what carries the cluster in a file below /etc/apt/apt.conf.d.",
        plan=True,
        claims=_UNATTENDED,
    ),
)
