"""The whole platform, cluster.yaml as it is shipped: built, at rest, and when something breaks.

    python bench/whole_platform.py [--rounds N]

From bare hosts to a `smoke --full` that passes, and where that time goes; memory of each host; `up` with nothing to do,
of all of it and then without the add-ons; seconds from a fault to the webhook that is told, with the waiting times that
the lab's tests use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import median, table
from fresh import journal_of, split_of
from own_lab import LB, MASTERS, WORKERS, Lab, bench_lab, without_addons
from readings import Fault, Memory, arrivals, memory_of, memory_table, waiting_times
from results import Part, measured, publish
from weekly import Command, tried, wait_healthy

from mlops_infra.lab.cgroup import discover
from mlops_infra.phases.alert_rules import with_delay
from mlops_infra.phases.host_exporters import TEXTFILES
from mlops_infra.render import plain_templates

sys.path.append(str(Path(__file__).parents[1] / "tests/lab"))
from webhook import ADDRESS, PORT, Webhook

WHOLE, MORE = 4.0, 1.0
"""Seconds that `up` with nothing to do may take, and how many of them the add-ons may cost."""
PATIENCE = 180
"""Seconds in which `smoke --full` must pass, and every target of Prometheus must answer."""
REST = 60
"""Seconds between a platform that is well and the first figure."""
DELAY, INTERVAL = 0.05, "10s"
"""`monitoring.alert_delay` and the scrape interval, as in tests/lab/test_monitoring.py."""
FIRST, SECOND = 240.0, 120.0
"""Seconds for the alerts of the faults that are made at once, and then for the host without power."""

NAME = "app.kubernetes.io/name"
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
CRASHES = f"""\
{KUBECTL} apply -f - >/dev/null <<'END'
apiVersion: v1
kind: Pod
metadata: {{name: crashes, namespace: default}}
spec:
  containers:
    - {{name: crashes, image: docker.io/library/busybox:1.36.1, command: ["/bin/sh", "-c", "exit 1"]}}
END
"""
METRIC = "mlops_infra_backup_last_success_timestamp_seconds"
MARKS = f"grep -l '^{METRIC} ' {TEXTFILES}/*.prom 2>/dev/null || :"
OLD = f"""\
for mark in $({MARKS}); do
  cp -p "$mark" "$mark.kept"
  cp -p "$mark" "$mark.new"
  sed "s/^{METRIC} .*/{METRIC} $(($(date +%s) - 172800))/" "$mark.kept" >"$mark.new"
  mv "$mark.new" "$mark"
done
"""
NEW = f'for kept in {TEXTFILES}/*.prom.kept; do [ ! -e "$kept" ] || mv "$kept" "${{kept%.kept}}"; done\n'


# ---- built -------------------------------------------------------------------------------------------------------


def built(lab: Lab) -> Part:
    """From bare hosts until `smoke --full` has passed."""
    lab.product("lab", "reset", "--yes")
    began, started = time.monotonic(), time.time()
    report = lab.product_json("--lab", "up", "--yes", "--no-smoke")
    up = time.monotonic() - began
    said, passed = [], False
    while not passed and time.monotonic() - began < up + PATIENCE:
        at = time.monotonic()
        answer = json.loads(lab.product("--lab", "--json", "smoke", "--full", ok=(0, 2)))
        passed = bool(answer["ok"])
        wrong = ", ".join(check["id"] for check in answer["checks"] if check["result"] == "failed")
        said.append(f"{time.monotonic() - at:.1f} s{f' (failed: {wrong})' if wrong else ''}")
    whole = time.monotonic() - began
    return [
        f"From bare hosts to a `smoke --full` that {'passed' if passed else 'DID NOT PASS'}: **{whole:.1f} s**. Of it "
        f"`up --no-smoke` {up:.1f} s, `smoke --full` {', then again '.join(said)}.",
        "",
        *split_of(journal_of(lab, report["run"]), started),
    ], passed


# ---- at rest -----------------------------------------------------------------------------------------------------


def healthy(lab: Lab) -> Part:
    """Nothing is measured; that something was still astray is told. What a build sets going (first scrapes, first
    compactions, collections of garbage) is no part of a command's time: it gets REST to end."""
    wait_healthy(lab)
    time.sleep(REST)
    return [], True


def memory(lab: Lab) -> Part:
    """Of the hosts' cgroups on this machine: every process of a host, and of its pods."""
    hierarchies = discover()
    found: dict[str, Memory] = {}
    for name in lab.names:
        for directory in hierarchies.directories(name):
            if (directory / "memory.stat").exists():
                own = directory / "memory.kmem.usage_in_bytes"
                kernel = int(own.read_text()) if own.exists() else 0
                found[name] = memory_of((directory / "memory.stat").read_text(), kernel)
    return ["Memory at rest, as the hosts' cgroups count it:", "", *memory_table(found)], len(found) == len(lab.names)


def whole(lab: Lab, rounds: int, found: dict[str, float]) -> Part:
    """`up` with nothing to do, of all of it; its median goes into `found`."""
    lines, found["whole"], idle = _nothing_to_do(lab, "the whole platform", rounds)
    said = f"- the whole platform: {found['whole']:.2f} s (to reach: at most {WHOLE:g} s)"
    return ["`up` with nothing to do:", "", *lines, said], idle and found["whole"] <= WHOLE


def without(lab: Lab, rounds: int, found: dict[str, float]) -> Part:
    """The same after the add-ons were switched off."""
    lab.rewrite(without_addons)
    lab.product("--lab", "up", "--yes", "--no-smoke")
    lines, bare, idle = _nothing_to_do(lab, "without MetalLB, ingress, storage, metrics, monitoring", rounds)
    more = found["whole"] - bare
    return [*lines, f"- for the add-ons: {more:.2f} s (to reach: at most {MORE:g} s)"], idle and more <= MORE


def _nothing_to_do(lab: Lab, name: str, rounds: int) -> tuple[list[str], float, bool]:
    """A table, the median, and whether there was nothing to do indeed."""
    runs, answers = tried(lab, Command(("up", "--yes"), WHOLE, rounds))
    idle = all(answer["plan"]["empty"] for answer in answers)
    said = [] if idle else ["- NOT A FIGURE: there was something to do"]
    return [table({name: runs}), "", *said], median(runs), idle


# ---- when something breaks ---------------------------------------------------------------------------------------


def watched(document: Any) -> None:
    """Short waiting times, and a receiver that this script serves."""
    where = f"http://{ADDRESS}:{PORT}/alerts"
    document["monitoring"]["alert_delay"] = DELAY
    document["monitoring"]["prometheus"]["scrape_interval"] = INTERVAL
    document["monitoring"]["receivers"] = [
        {"name": "hook", "severities": ["critical", "warning", "info"], "webhook": {"url": where}}
    ]


def wait_measured(lab: Lab) -> None:
    """Until every part of monitoring runs and every target answers."""
    end = time.monotonic() + PATIENCE
    while not (state := json.loads(lab.product("--lab", "--json", "monitoring", "status", ok=(0, 2))))["well"]:
        if time.monotonic() > end:
            silent = [target for target in state["targets"] or () if target["down"]]
            raise SystemExit(f"monitoring is not well after {PATIENCE} s: {state['parts']} {silent}")
        time.sleep(2)


def faults_of(lab: Lab) -> tuple[list[Fault], list[Fault]]:
    """Those that can be made at once, and the one that would disturb them: of a node that is down nothing is measured.

    The full disk is the load balancer's: a worker's kubelet would evict what tells of the others. The silent target is
    a kubelet, of a master whose mark of the last backup nobody needs.
    """
    marked = [name for name, text in lab.everywhere(MARKS, MASTERS).items() if text.strip()]
    if not marked:
        raise SystemExit("no master tells when the last backup was")
    silent = next((name for name in reversed(MASTERS) if name not in marked), MASTERS[-1])
    pods = json.loads(lab.root("master-1", f"{KUBECTL} -n monitoring get pods -o json"))["items"]
    busy = {p["spec"].get("nodeName") for p in pods if p["metadata"]["labels"].get(NAME) == "prometheus"}
    victim = next(name for name in WORKERS if name not in busy)

    def on(host: str, script: str) -> Callable[[], object]:
        return lambda: lab.root(host, script)

    def product(*words: str) -> Callable[[], object]:
        return lambda: lab.product(*words)

    def fault(name: str, alert: str, labels: dict[str, str], *hands: Callable[[], object]) -> Fault:
        return Fault(name, alert, labels, *hands)

    return [
        fault(
            "a pod that crashes again and again",
            "KubePodCrashLooping",
            {"pod": "crashes", "severity": "warning"},
            on("master-1", CRASHES),
            on("master-1", f"{KUBECTL} delete pod crashes --ignore-not-found --wait=false"),
        ),
        fault(
            f"a disk that is full ({LB})",
            "NodeFilesystemAlmostOutOfSpace",
            {"node": LB, "severity": "critical"},
            product("lab", "fail", "disk-full", LB),
            product("lab", "heal", LB),
        ),
        fault(
            f"a target that is silent (the kubelet of {silent})",
            "TargetDown",
            {"job": "kubelet", "severity": "warning"},
            on(silent, "systemctl stop kubelet"),
            on(silent, "systemctl start kubelet"),
        ),
        fault(
            "a backup that is too old (its mark says two days)",
            "BackupTooOld",
            {"severity": "warning"},
            lambda: lab.everywhere(OLD, MASTERS),
            lambda: lab.everywhere(NEW, MASTERS),
        ),
    ], [
        fault(
            f"a node without power ({victim})",
            "HostDown",
            {"node": victim, "severity": "critical"},
            product("lab", "fail", "power", victim),
            product("lab", "heal", victim),
        ),
    ]


def alerts(lab: Lab) -> Part:
    """From the fault until the webhook was told."""
    lab.rewrite(watched)
    lab.product("--lab", "up", "--yes", "--no-smoke")
    lab.product("--lab", "backup", "etcd")
    wait_measured(lab)
    at_once, alone = faults_of(lab)
    kept = lab.directory / "alerts"
    kept.unlink(missing_ok=True)
    hook = Webhook.start(kept, os.environ)
    try:

        def has_come(fault: Fault) -> bool:
            return hook.has(fault.alert, **fault.labels)

        came = arrivals(at_once, has_come, FIRST)
        came |= arrivals(alone, has_come, SECOND)
    finally:
        hook.stop()
    shipped: dict[tuple[str, str], str] = {}
    for text in plain_templates("monitoring/rules", ".yaml").values():
        shipped |= waiting_times(text)
    lines = [
        "| fault | alert | s until the webhook was told | of it `for:` here | `for:` as shipped |",
        "|---|---|---|---|---|",
    ]
    for fault in (*at_once, *alone):
        seconds, waits = came[fault.name], shipped[fault.alert, fault.labels["severity"]]
        said = "DID NOT COME" if seconds is None else f"{seconds:.1f}"
        lines.append(f"| {fault.name} | {fault.alert} | {said} | {shortened(waits)} | {waits} |")
    return [
        f"From a fault to the webhook, with `alert_delay: {DELAY}` and `scrape_interval: {INTERVAL}` as in the lab's "
        "tests; the first four at once, then the node. Counted from just before the command that makes the fault:",
        "",
        *lines,
    ], None not in came.values()


def shortened(waits: str) -> str:
    """As `up` writes it into the rules."""
    return with_delay(f"  for: {waits}", DELAY).strip().removeprefix("for: ")


# ---- all of it ---------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of `up` with nothing to do (default: 5)")
    rounds = parser.parse_args().rounds
    found: dict[str, float] = {}
    with bench_lab() as lab:
        lab.ship()
        lines, missed = measured(
            {
                "bare hosts to `smoke --full`": lambda: built(lab),
                "a platform that has settled": lambda: healthy(lab),
                "memory": lambda: memory(lab),
                "`up` with nothing to do": lambda: whole(lab, rounds, found),
                "`up` with nothing to do, without the add-ons": lambda: without(lab, rounds, found),
                "from a fault to the webhook": lambda: alerts(lab),
            }
        )
    publish("platform", "The whole platform, as cluster.yaml is shipped", lines)
    print("\n".join(f"missed: {what}" for what in missed))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
