"""200 hosts at once: a no-op of the host phases (hosts and runtime) over 200 sshd on this machine.

    python bench/fleet.py [HOSTS [ROUNDS]]

The sshd are processes of their own, each with a port of its own, started inside one prepared worker of the lab: what
the phases ask for (packages, units, files, /proc/sys) has to be there, and a systemd that answers, so that all 200 find
the host in order. The controller is a process of its own (`--controller`): it makes 200 workers' phases of the model,
connects, asks, compares, plans. Both ends share this machine's CPUs: what the hosts' side costs is told beside it, and
so is the floor: OpenSSH's own client (`--openssh`), which only logs in to the same 200 sshd and runs `true`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from common import Run, median, run
from own_lab import Lab, bench_lab
from results import publish

WORKER = "worker-1"
FIRST_PORT = 20000
SECONDS, MEBIBYTES = 6.0, 200.0

AT_ONCE = 16
"""Clients of the floor at a time: more of them do not end sooner on two cores."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the sshd are configured and who logs in."""

    name: str
    user: str
    sshd: str


# The first is what has to be reached. Without PAM a login neither reads nor writes what a desktop wants to know, and no
# line goes to the journal; nothing of the protocol is left out: keys of both sides, privilege separation, the sandbox.
PLAIN = Way(
    "prepared sshd (UsePAM no, log in a file), root",
    "root",
    "-f /run/fleet/sshd_config -E /run/fleet/log",
)
STOCK = Way("Debian's sshd (PAM, journal), a user with sudo", "", "-o MaxStartups=100:30:200")

CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /run/fleet/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
MaxStartups 100:30:200
"""

START = """\
ulimit -n 4096 2>/dev/null
mkdir -p /run/sshd /run/fleet
echo '{config}' >/run/fleet/sshd_config
echo '{key}' >/run/fleet/authorized_keys
i=0
while [ $i -lt {count} ]; do
  /usr/sbin/sshd {sshd} -o PidFile=/run/fleet/$i.pid -p $(({port} + i)) || exit 1
  i=$((i + 1))
done
"""
STOP = "for f in /run/fleet/*.pid; do kill $(cat $f) 2>/dev/null; done; rm -rf /run/fleet; exit 0"


def controller(config: Path, count: int) -> int:
    """The no-op itself, in a fresh process that was started inside the lab's network."""
    began = time.monotonic()
    from mlops_infra.app.context import open_site  # noqa: PLC0415
    from mlops_infra.app.inputs import phase_context  # noqa: PLC0415
    from mlops_infra.app.reach import targets, transport_of  # noqa: PLC0415
    from mlops_infra.engine.run import Engine, Settings  # noqa: PLC0415
    from mlops_infra.phases.hosts import hosts_phase  # noqa: PLC0415
    from mlops_infra.phases.runtime import runtime_phase  # noqa: PLC0415

    context = open_site(config, lab=True)
    cluster, site = context.cluster, context.site
    one = next(host for host in cluster.hosts.workers if host.name == WORKER)
    fleet = tuple(one.model_copy(update={"name": f"host-{n:03}"}) for n in range(count))
    cluster = cluster.model_copy(update={"hosts": cluster.hosts.model_copy(update={"masters": (), "workers": fleet})})
    known = phase_context(context)
    whole = (hosts_phase(cluster, known), runtime_phase(cluster, known))
    names = {host.name for host in fleet}
    phases = tuple(replace(p, steps=tuple(s for s in p.steps if s.host in names)) for p in whole)
    own = {name: target for name, target in targets(cluster, config.parent).items() if name in names}
    where = {
        name: replace(
            target,
            port=FIRST_PORT + number,
            host_key=os.environ["FLEET_HOST_KEY"],
            user=os.environ["FLEET_USER"] or target.user,
        )
        for number, (name, target) in enumerate(own.items())
    }
    made = time.monotonic() - began
    with Engine(transport_of(context), where, phases, Settings("fleet", (), site.runs)) as engine:
        plan = engine.plan()
        told = {
            "made": made,
            "seconds": time.monotonic() - began,
            "channels": engine.channels,
            "empty": plan.is_empty,
            "problems": [f"{p.host}: {p.brief}" for p in plan.problems][:5],
            "changes": [f"{s.id}: {c.title}: {c.reason}" for s in plan.steps for c in s.changes][:5],
        }
    print(json.dumps(told))
    return 0 if plan.is_empty and not plan.problems else 1


def _processor(lab: Lab) -> float:
    """CPU seconds of the worker's processes so far."""
    from mlops_infra.lab.cgroup import discover  # noqa: PLC0415

    for directory in discover().directories(WORKER):
        if (directory / "cpuacct.usage").exists():
            return int((directory / "cpuacct.usage").read_text()) / 1e9
        if (directory / "cpu.stat").exists() and "usage_usec" in (text := (directory / "cpu.stat").read_text()):
            return int(text.split()[1]) / 1e6
    return 0.0


def openssh(address: str, key: str, known: str, count: int) -> int:
    """The floor: log in to each sshd and run `true`. The key exchange is the cheapest that both sides know."""
    options = ["-F", "none", "-i", key, "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes"]
    options += ["-o", "BatchMode=yes", "-o", "KexAlgorithms=curve25519-sha256", "-l", "root"]

    def login(number: int) -> int:
        return subprocess.run(
            ["ssh", *options, "-p", str(FIRST_PORT + number), address, "true"], check=False
        ).returncode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return int(any(pool.map(login, range(count))))


@dataclass(frozen=True, slots=True)
class Measured:
    """Rounds of one way; `told` is what the controllers said of themselves, one for each that found nothing to do."""

    runs: list[Run]
    beside: list[float]
    told: list[dict[str, object]]

    def row(self, title: str) -> str:
        wall, beside = [r.wall for r in self.runs], statistics.median(self.beside)
        failed = sum(r.rc != 0 for r in self.runs)
        told = f" **{failed} of {len(self.runs)} rounds failed**" if failed else ""
        return (
            f"| {title}{told} | {median(self.runs):.2f} ({min(wall):.2f} to {max(wall):.2f}) "
            f"| {median(self.runs, 'cpu'):.2f} | {beside:.2f} | {max(r.rss for r in self.runs):.0f} |"
        )


def _rounds(lab: Lab, argv: list[str], env: dict[str, str], rounds: int) -> Measured:
    """One round more than asked for, and that one not counted."""
    log = lab.directory / "fleet.log"
    found = Measured([], [], [])
    for number in range(rounds + 1):
        log.unlink(missing_ok=True)
        before = _processor(lab)
        one = run(lab.inside(*argv), cwd=lab.directory, log=log, env=env)
        beside, said = _processor(lab) - before, log.read_text()
        print(f"{one.wall:.2f} s, CPU {one.cpu:.2f} + {beside:.2f} s, exit {one.rc}: {said[-1500:]}", flush=True)
        if number:
            found.runs.append(one)
            found.beside.append(beside)
            if one.rc == 0 and said.startswith("{"):
                found.told.append(json.loads(said.splitlines()[-1]))
    return found


def measure(lab: Lab, way: Way, count: int, rounds: int, *, floor: bool) -> tuple[Measured, Measured | None]:
    """The no-op in one way, and where asked for OpenSSH's client beside it."""
    public = lab.root(WORKER, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2]
    digest = lab.root(WORKER, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    own = lab.key.with_suffix(".pub").read_text().strip()
    address = str(lab.twin.host(WORKER).address)
    known = lab.directory / "fleet.known_hosts"
    known.write_text("".join(f"[{address}]:{FIRST_PORT + n} {' '.join(public)}\n" for n in range(count)))
    lab.root(WORKER, START.format(count=count, port=FIRST_PORT, config=CONFIG, key=own, sshd=way.sshd))
    try:
        argv = [sys.executable, __file__, "--controller", str(lab.config), str(count)]
        ours = _rounds(lab, argv, {"FLEET_HOST_KEY": digest, "FLEET_USER": way.user}, rounds)
        argv = [sys.executable, __file__, "--openssh", address, str(lab.key), str(known), str(count)]
        return ours, _rounds(lab, argv, {}, rounds) if floor else None
    finally:
        lab.root(WORKER, STOP, check=False)


def main() -> int:
    if sys.argv[1:2] == ["--controller"]:
        return controller(Path(sys.argv[2]), int(sys.argv[3]))
    if sys.argv[1:2] == ["--openssh"]:
        return openssh(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with bench_lab() as lab:
        lab.ensure_platform()
        plain, floor = measure(lab, PLAIN, count, rounds, floor=True)
        stock, _ = measure(lab, STOCK, count, 1, floor=False)
    assert floor is not None
    publish(
        "fleet",
        f"{count} hosts, nothing to do in the host phases",
        [
            f"To reach: at most {SECONDS:g} s, under {MEBIBYTES:g} MiB. CPU in seconds; the hosts' side (sshd,",
            "sudo, sh and its children, systemd's answers) shares this machine's cores with the client.",
            "",
            "| | wall s | client's CPU | hosts' CPU | client's peak MiB |",
            "|---|---|---|---|---|",
            plain.row(f"no-op; {PLAIN.name}"),
            floor.row(f"OpenSSH client, `true`, {AT_ONCE} at a time; the same sshd"),
            stock.row(f"no-op; {STOCK.name}"),
            "",
            f"Channels: {plain.told[-1]['channels'] if plain.told else '?'}.",
        ],
    )
    good = len(plain.told) == len(plain.runs)
    return int(not good or median(plain.runs) > SECONDS or max(r.rss for r in plain.runs) >= MEBIBYTES)


if __name__ == "__main__":
    sys.exit(main())
