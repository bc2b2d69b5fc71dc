"""200 hosts at once: a no-op of the host phases (hosts and runtime) over 200 sshd on this machine.

    python bench/fleet.py [HOSTS [ROUNDS]]

The sshd are processes of their own, each with a port of its own, started inside one prepared worker of the lab: what
the phases ask for (packages, units, files, /proc/sys) has to be there, and a systemd that answers, so that all 200 find
the host in order. The controller is a process of its own (fleet_clients.py): it makes 200 workers' phases of the model,
connects, asks, compares, plans. Both ends share this machine's CPUs: what the hosts' side costs is told beside it, and
so is the floor: OpenSSH's own client, which only logs in to the same 200 sshd and runs `true`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common import Run, at_rest, median, run
from fleet_clients import AT_ONCE, FIRST_PORT
from own_lab import Lab, bench_lab
from results import publish

SECONDS, MEBIBYTES = 6.0, 200.0
CLIENTS = str(Path(__file__).with_name("fleet_clients.py"))


@dataclass(frozen=True, slots=True)
class Way:
    """How the sshd are configured, who logs in, and of which type both sides' keys are."""

    name: str
    user: str
    sshd: str
    keys: str


# The first is what has to be reached: sshd that cost this machine little, because 200 hosts have a processor each and
# here share two with the client. Without PAM a login neither reads nor writes what a desktop wants to know, and no line
# goes to the journal; -r (sshd.c) forks for a connection and does not start its own program anew (10 ms); P-256 is
# OpenSSL's, quicker than the portable Curve25519 of OpenSSH (8 ms, with the key of each side). Nothing of the protocol
# is left out: keys of both sides, privilege separation, the sandbox.
PLAIN = Way(
    "prepared sshd (UsePAM no, log in a file, -r, P-256), root",
    "root",
    "-r -f /run/fleet/sshd_config -E /run/fleet/log",
    "ecdsa",
)
STOCK = Way("Debian's sshd (PAM, journal), a user with sudo", "", "-o MaxStartups=100:30:200", "ed25519")

CONFIG = """\
HostKey /etc/ssh/ssh_host_ecdsa_key
KexAlgorithms ecdh-sha2-nistp256
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


def worker_of(lab: Lab) -> str:
    """The worker with Debian 12: its OpenSSH starts one program for a login, that of Debian 13 three."""
    return next(host.name for host in lab.twin.hosts if host.is_debian12)


def _processor(worker: str) -> float:
    """CPU seconds of the worker's processes so far."""
    from mlops_infra.lab.cgroup import discover  # noqa: PLC0415

    for directory in discover().directories(worker):
        if (directory / "cpuacct.usage").exists():
            return int((directory / "cpuacct.usage").read_text()) / 1e9
        if (directory / "cpu.stat").exists() and "usage_usec" in (text := (directory / "cpu.stat").read_text()):
            return int(text.split()[1]) / 1e6
    return 0.0


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
        before = _processor(env["FLEET_WORKER"])
        one = run(lab.inside(*argv), cwd=lab.directory, log=log, env=env)
        beside, said = _processor(env["FLEET_WORKER"]) - before, log.read_text()
        print(f"{one.wall:.2f} s, CPU {one.cpu:.2f} + {beside:.2f} s, exit {one.rc}: {said[-1500:]}", flush=True)
        if number:
            found.runs.append(one)
            found.beside.append(beside)
            if one.rc == 0 and said.startswith("{"):
                found.told.append(json.loads(said.splitlines()[-1]))
    return found


def measure(lab: Lab, way: Way, count: int, rounds: int, *, floor: bool) -> tuple[Measured, Measured | None]:
    """The no-op in one way, and where asked for OpenSSH's client beside it."""
    worker = worker_of(lab)
    public = lab.root(worker, f"cat /etc/ssh/ssh_host_{way.keys}_key.pub").split()[:2]
    digest = lab.root(worker, f"ssh-keygen -lf /etc/ssh/ssh_host_{way.keys}_key.pub").split()[1]
    key = _key(lab, way)
    own = key.with_suffix(".pub").read_text().strip()
    address = str(lab.twin.host(worker).address)
    known = lab.directory / "fleet.known_hosts"
    known.write_text("".join(f"[{address}]:{FIRST_PORT + n} {' '.join(public)}\n" for n in range(count)))
    lab.root(worker, START.format(count=count, port=FIRST_PORT, config=CONFIG, key=own, sshd=way.sshd))
    try:
        argv = [sys.executable, CLIENTS, "--controller", str(lab.config), str(count)]
        who = {"FLEET_HOST_KEY": digest, "FLEET_USER": way.user, "FLEET_KEY": str(key)}
        ours = _rounds(lab, argv, {"FLEET_WORKER": worker, **who}, rounds)
        argv = [sys.executable, CLIENTS, "--openssh", address, str(key), str(known), str(count)]
        return ours, _rounds(lab, argv, {"FLEET_WORKER": worker}, rounds) if floor else None
    finally:
        lab.root(worker, STOP, check=False)


def _key(lab: Lab, way: Way) -> Path:
    """The client's private key: the lab's own, or one that is made for this."""
    if not way.user:
        return lab.key
    key = lab.directory / f"fleet_{way.keys}"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", way.keys, "-N", "", "-f", str(key)], check=True)
    return key


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with bench_lab(small=True) as lab:
        # Prepared hosts, and nothing more: a cluster on them would take its part of the processors.
        lab.product("lab", "reset", "--yes")
        lab.product("--lab", "hosts", "apply", "--yes")
        at_rest()
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
