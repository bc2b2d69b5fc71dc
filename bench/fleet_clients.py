"""Who logs in to the 200 sshd of fleet.py: our controller, and OpenSSH's client. It imports nothing of the bench's lab.

python bench/fleet_clients.py --controller CONFIG HOSTS
python bench/fleet_clients.py --openssh ADDRESS KEY KNOWN_HOSTS HOSTS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

FIRST_PORT = 20000

AT_ONCE = 16
"""Clients of the floor at a time: more of them do not end sooner on two cores."""


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
    one = next(host for host in cluster.hosts.workers if host.name == os.environ["FLEET_WORKER"])
    fleet = tuple(one.model_copy(update={"name": f"host-{n:03}"}) for n in range(count))
    cluster = cluster.model_copy(update={"hosts": cluster.hosts.model_copy(update={"masters": (), "workers": fleet})})
    names = {host.name for host in fleet}
    own = {name: target for name, target in targets(cluster, config.parent).items() if name in names}
    where = {
        name: replace(
            target,
            port=FIRST_PORT + number,
            host_key=os.environ["FLEET_HOST_KEY"],
            user=os.environ["FLEET_USER"] or target.user,
            identity=Path(os.environ["FLEET_KEY"]),
        )
        for number, (name, target) in enumerate(own.items())
    }
    transport = transport_of(context)
    transport.expect(where.values())
    known = phase_context(context)
    whole = (hosts_phase(cluster, known), runtime_phase(cluster, known))
    phases = tuple(replace(p, steps=tuple(s for s in p.steps if s.host in names)) for p in whole)
    made = time.monotonic() - began
    with Engine(transport, where, phases, Settings("fleet", (), site.runs)) as engine:
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


def openssh(address: str, key: str, known: str, count: int) -> int:
    """The floor: log in to each sshd and run `true`. The key exchange is the cheapest that both sides know."""
    options = ["-F", "none", "-i", key, "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes"]
    options += ["-o", "BatchMode=yes", "-o", "KexAlgorithms=ecdh-sha2-nistp256", "-l", "root"]

    def login(number: int) -> int:
        return subprocess.run(
            ["ssh", *options, "-p", str(FIRST_PORT + number), address, "true"], check=False
        ).returncode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return int(any(pool.map(login, range(count))))


def main() -> int:
    if sys.argv[1] == "--controller":
        return controller(Path(sys.argv[2]), int(sys.argv[3]))
    return openssh(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))


if __name__ == "__main__":
    sys.exit(main())
