"""200 hosts at once: a no-op of the host phases (hosts and runtime) over 200 sshd on this machine.

    python bench/fleet.py [HOSTS [ROUNDS]]

The sshd run inside one prepared worker of the lab, each a listener of its own on a port of its own; so every question
is asked and answered 200 times, and all find the host in order. The controller is a process of its own
(`python bench/fleet.py --controller …`): it makes 200 workers' phases of the model, connects, asks, compares, plans.
Both ends share this machine's CPUs: what the hosts' side costs is told beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

from common import Run, median, run
from own_lab import Lab, bench_lab
from results import publish

WORKER = "worker-1"
FIRST_PORT = 20000
SECONDS, MEBIBYTES = 6.0, 200.0

START = """\
ulimit -n 4096 2>/dev/null
mkdir -p /run/sshd /run/fleet
i=0
while [ $i -lt {count} ]; do
  /usr/sbin/sshd -o PidFile=/run/fleet/$i.pid -o MaxStartups=100:30:200 -p $(({port} + i)) || exit 1
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
        name: replace(target, port=FIRST_PORT + number, host_key=os.environ["FLEET_HOST_KEY"])
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


def measure(lab: Lab, count: int, rounds: int) -> tuple[list[Run], list[float], list[dict[str, object]]]:
    key = lab.root(WORKER, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    log = lab.directory / "fleet.log"
    lab.root(WORKER, START.format(count=count, port=FIRST_PORT))
    runs, host_side, told = [], [], []
    try:
        for _ in range(rounds + 1):
            log.unlink(missing_ok=True)
            before = _processor(lab)
            argv = lab.inside(sys.executable, __file__, "--controller", str(lab.config), str(count))
            one = run(argv, cwd=lab.directory, log=log, env={"FLEET_HOST_KEY": key})
            print(f"{one.wall:.2f} s, {one.rss:.0f} MiB, exit {one.rc}: {log.read_text()[-1500:]}", flush=True)
            runs.append(one)
            host_side.append(_processor(lab) - before)
            if one.rc == 0:
                told.append(json.loads(log.read_text().splitlines()[-1]))
    finally:
        lab.root(WORKER, STOP, check=False)
    return runs[1:], host_side[1:], told[1:]


def main() -> int:
    if sys.argv[1:2] == ["--controller"]:
        return controller(Path(sys.argv[2]), int(sys.argv[3]))
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with bench_lab() as lab:
        lab.ensure_platform()
        runs, host_side, told = measure(lab, count, rounds)
    seconds, memory = median(runs), max(one.rss for one in runs)
    least, most = min(r.wall for r in runs), max(r.wall for r in runs)
    beside = statistics.median(host_side)
    good = len(told) == len(runs)
    publish(
        "fleet",
        f"{count} hosts, nothing to do in the host phases",
        [
            "| | |",
            "|---|---|",
            f"| whole process, s (to reach: at most {SECONDS:g}) | {seconds:.2f} ({least:.2f} to {most:.2f}) |",
            f"| controller's CPU, s | {median(runs, 'cpu'):.2f} |",
            f"| CPU of the hosts' side on the same machine (sshd, sudo, sh and its children), s | {beside:.2f} |",
            f"| controller's peak memory, MiB (to reach: under {MEBIBYTES:g}) | {memory:.0f} |",
            f"| channels | {told[-1]['channels'] if told else '?'} |",
            "" if good else f"\n{len(runs) - len(told)} of {len(runs)} rounds failed.",
        ],
    )
    return int(not good or seconds > SECONDS or memory >= MEBIBYTES)


if __name__ == "__main__":
    sys.exit(main())
