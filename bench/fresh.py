"""A fresh platform: from bare hosts, and from hosts that hold packages and images, beside a hand at the keyboard.

    python bench/fresh.py [bare|held] [ROUNDS]

bare: `lab reset`, then `up`; where the time went, and how many SSH sessions the hosts' sshd saw (LogLevel VERBOSE),
then the same count for a run that finds nothing to do. held: the cluster is taken off the hosts, packages and images
stay; by_hand.sh and `up` in turns, each until all six nodes are Ready by the API's own word, and until it ended.
Before `up` the files of the host preparation are taken away too; by_hand.sh finds them in place, because it knows
nothing of them.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from common import run
from own_lab import MASTERS, NODES, PROGRAM, Lab, bench_lab
from results import publish

SESSIONS_FRESH, SESSIONS_NOOP, BY_HAND = 60, 7, 1.1

VERBOSE = "echo 'LogLevel VERBOSE' >/etc/ssh/sshd_config.d/10-bench.conf && systemctl reload ssh"
COUNT = "journalctl --no-pager -q -o cat | grep -c '^Starting session: .* for USER from' || :"

# /etc/cni/net.d itself stays: containerd watches that directory, and never hears of one that takes its place.
OFF = """\
systemctl stop kubelet mlops-infra-approver.timer 2>/dev/null
kubeadm reset -f --skip-phases=remove-etcd-member >/dev/null 2>&1
for link in cni0 flannel.1; do ip link del $link 2>/dev/null; done
for m in $(awk '$2 ~ "^/var/lib/kubelet/" { print $2 }' /proc/mounts | sort -r); do umount -l "$m"; done
find /var/lib/etcd /var/lib/kubelet -mindepth 1 -delete 2>/dev/null
rm -rf /etc/kubernetes /etc/cni/net.d/* /var/lib/cni /run/flannel /root/init.yaml /var/lib/mlops-infra/operations \
  /var/lib/mlops-infra/manifest.json /var/lib/mlops-infra/cluster.yaml /var/lib/mlops-infra/secrets.json
mkdir -p /etc/kubernetes/manifests /etc/cni/net.d
for table in filter nat mangle; do iptables -t $table -F; iptables -t $table -X; done 2>/dev/null
rm -f /etc/haproxy/haproxy.cfg
sed -i '/# BEGIN mlops-infra/,/# END mlops-infra/d; /api[.]mlops[.]internal/d' /etc/hosts
! command -v haproxy >/dev/null || systemctl stop haproxy
exit 0
"""
UNPREPARED = """\
rm -rf /var/lib/mlops-infra /run/mlops-infra
rm -rf /etc/apt/keyrings/mlops-infra.asc /etc/apt/sources.list.d/mlops-infra.sources \
  /etc/apt/apt.conf.d/52mlops-infra /etc/needrestart/conf.d/mlops-infra.conf /etc/modules-load.d/mlops-infra.conf \
  /etc/sysctl.d/90-mlops-infra.conf /etc/crictl.yaml /etc/containerd/certs.d /etc/containerd/config.toml \
  /etc/systemd/system/containerd.service.d /etc/default/chrony \
  /etc/systemd/system/mlops-infra-approver.* /usr/local/lib/mlops-infra
systemctl unmask swap.target 2>/dev/null
systemctl daemon-reload
exit 0
"""


READY = (
    "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o "
    "jsonpath='{.items[*].status.conditions[?(@.type==\"Ready\")].lastTransitionTime}'\n"
)


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds until the last node became Ready, and until the command ended."""

    ready: float
    wall: float
    rc: int


# ---- from bare hosts -------------------------------------------------------------------------------------------


def bare(lab: Lab) -> int:
    lab.product("lab", "reset", "--yes")
    lab.everywhere(VERBOSE)
    began = time.monotonic()
    started = time.time()
    report = lab.product_json("--lab", "up", "--yes", "--no-smoke")
    whole = time.monotonic() - began
    lab.wait_ready()
    ready = time.monotonic() - began
    fresh = _sessions(lab)
    lab.product("--lab", "up", "--yes", "--no-smoke")
    settled = _sessions(lab)
    lab.product("--lab", "up", "--yes", "--no-smoke")
    noop = {host: count - settled[host] for host, count in _sessions(lab).items()}
    journal = journal_of(lab, report["run"])
    publish(
        "fresh",
        "A fresh platform, from bare hosts",
        [
            f"`up` {whole:.1f} s, all nodes Ready after {ready:.1f} s.",
            "",
            *split_of(journal, started),
            "",
            "Inside the preparation, host by host:",
            "",
            *_apt(lab, report["run"]),
            "",
            "Images, pulled in the background by containerd itself:",
            "",
            *_images(lab),
            "",
            "SSH sessions in the hosts' own logs:",
            "",
            "| | " + " | ".join(fresh) + " | all | to reach |",
            "|---|" + "---|" * (len(fresh) + 2),
            _row("fresh `up`", fresh, SESSIONS_FRESH),
            _row("`up`, nothing to do", noop, SESSIONS_NOOP),
        ],
    )
    return int(sum(fresh.values()) > SESSIONS_FRESH or sum(noop.values()) > SESSIONS_NOOP)


def _sessions(lab: Lab) -> dict[str, int]:
    """Sessions of the product's own user; those of the bench are root's."""
    user = lab.twin.hosts[0].ssh_user
    return {host: int(text or 0) for host, text in lab.everywhere(COUNT.replace("USER", user)).items()}


def _row(name: str, counts: dict[str, int], least: int) -> str:
    return f"| {name} | {' | '.join(map(str, counts.values()))} | {sum(counts.values())} | {least} |"


def journal_of(lab: Lab, run_id: str) -> list[dict[str, Any]]:
    path = lab.directory / ".mlops-infra/lab/runs" / run_id / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def split_of(journal: list[dict[str, Any]], started: float) -> list[str]:
    """Every batch and operation with its seconds since the program's start, the three longest kinds in bold."""
    at = {entry["what"]: entry["at"] for entry in journal if entry["what"] in ("run_started", "locked", "run_ended")}
    sent = {entry["batch"]: entry for entry in journal if entry["what"] == "batch_sent"}
    spans: list[tuple[str, float, float]] = [
        ("program start, first look, plan", started, at["run_started"]),
        ("lock, second look", at["run_started"], at["locked"]),
    ]
    for entry in journal:
        if entry["what"] != "batch_done":
            continue
        host, begun = entry["host"], sent[entry["batch"]]["at"]
        spans.append((f"{_kind(journal, entry, sent)} {host}", begun, entry["at"]))
    spans.append(("the last look, the kubeconfig", max(end for _, _, end in spans), at["run_ended"]))
    by_kind: dict[str, tuple[str, float, float]] = {}
    for span in sorted(spans, key=lambda span: span[2] - span[1]):
        by_kind[span[0].rsplit(" ", 1)[0]] = span  # the longest of a kind: the others run beside it or just like it
    largest = sorted(by_kind.values(), key=lambda span: span[1] - span[2])[:3]
    lines = ["| from | to | s | what |", "|---|---|---|---|"]
    for what, begin, end in sorted(spans, key=lambda span: span[1]):
        mark = "**" if (what, begin, end) in largest else ""
        lines.append(f"| {begin - started:.1f} | {end - started:.1f} | {mark}{end - begin:.1f}{mark} | {what} |")
    return lines


def _kind(journal: list[dict[str, Any]], done: dict[str, Any], sent: dict[str, Any]) -> str:
    operation = next(
        (e["operation"] for e in journal if e["what"] == "operation_intent" and e["batch"] == done["batch"]), ""
    )
    if operation:
        return operation
    names = [resource.split(":")[0] for resource, _ in sent[done["batch"]]["resources"]]
    if "packages" in names:
        return "preparation (apt and all else)"
    return "the API:" if "api" in names else "files and units"


def _apt(lab: Lab, run_id: str) -> list[str]:
    """What apt says of itself: what it fetched (output.log), and how long dpkg worked (history.log, whole seconds)."""
    output = (lab.directory / ".mlops-infra/lab/runs" / run_id / "output.log").read_text()
    history = lab.everywhere("cat /var/log/apt/history.log 2>/dev/null || :")
    lines = ["| host | fetched MB | in s | dpkg s | calls |", "|---|---|---|---|---|"]
    for host in lab.names:
        fetched = re.findall(rf"^\S+ {host}: .*Fetched ([\d.,]+) (k?M?B) in (?:(\d+)min )?(\d+)s", output, re.M)
        sizes = [(float(number.replace(",", "")), unit) for number, unit, _, _ in fetched]
        size = sum(number / {"MB": 1, "kB": 1e3, "B": 1e6}[unit] for number, unit in sizes)
        seconds = sum(int(minutes or 0) * 60 + int(rest) for _, _, minutes, rest in fetched)
        edges = re.findall(r"^(Start|End)-Date: (.*)$", history[host], re.M)
        moments = [datetime.strptime(text, "%Y-%m-%d  %H:%M:%S") for _, text in edges]
        dpkg = sum((b - a).total_seconds() for a, b in zip(moments[::2], moments[1::2], strict=False))
        lines.append(f"| {host} | {size:.0f} | {seconds} | {dpkg:.0f} | {len(moments) // 2} |")
    return lines


def _images(lab: Lab) -> list[str]:
    """Containerd's own words on each pull."""
    script = "journalctl --no-pager -q -o cat -u containerd | grep 'msg=\"Pulled image' || :"
    lines = ["| host | images | s, one after the other | slowest |", "|---|---|---|---|"]
    for host, text in lab.everywhere(script, NODES).items():
        found = re.findall(r'Pulled image \\"([^"\\]+)\\".*? in ([\d.]+)(ms|s)', text)
        pulls = {name: float(n) / (1000 if unit == "ms" else 1) for name, n, unit in found}
        slowest = max(pulls, key=lambda name: pulls[name]) if pulls else ""
        said = f"{slowest} {pulls[slowest]:.1f} s" if pulls else ""
        lines.append(f"| {host} | {len(pulls)} | {sum(pulls.values()):.1f} | {said} |")
    return lines


# ---- with packages and images there ------------------------------------------------------------------------------


def held(lab: Lab, rounds: int) -> int:
    lab.ensure_platform()
    _pull_all(lab)
    manifest = lab.directory / "flannel.yml"
    manifest.write_bytes(_flannel(lab))
    hand: list[Timed] = []
    ours: list[Timed] = []
    prepared, wrong = [], []
    for number in range(rounds):
        lab.everywhere(OFF)
        time.sleep(3)
        hand.append(_by_hand(lab, manifest))
        print(f"round {number + 1}: by hand {hand[-1]}", flush=True)
        lab.everywhere(OFF)
        lab.everywhere(UNPREPARED)
        time.sleep(3)
        one, journal = _by_product(lab)
        ours.append(one)
        prepared.append(_prepared(journal))
        print(f"round {number + 1}: up {one}, of it preparation {prepared[-1]:.1f} s", flush=True)
        print("\n".join(split_of(journal, journal[0]["at"])), flush=True)
        if hand[-1].rc or one.rc:
            wrong.append(f"round {number + 1}: by hand exit {hand[-1].rc}, up exit {one.rc}")
    theirs = statistics.median(one.ready for one in hand)
    mine = statistics.median(one.ready for one in ours)
    publish(
        "fresh-held",
        "A fresh platform on hosts that hold packages and images",
        [
            "| | s until all six nodes were Ready, each round | s until it ended |",
            "|---|---|---|",
            f"| `bench/by_hand.sh` (hosts prepared before) | {_listed(hand)} |",
            f"| `mlops-infra --lab up --yes` | {_listed(ours)} |",
            f"| of it looks, lock and host preparation | {', '.join(f'{one:.1f}' for one in prepared)} | |",
            "",
            f"Ratio of the medians until Ready {mine / theirs:.2f} (to reach: at most {BY_HAND}); in whole seconds.",
            *wrong,
        ],
    )
    return int(bool(wrong) or mine / theirs > BY_HAND)


def _listed(runs: list[Timed]) -> str:
    ready = ", ".join(f"{one.ready:.1f}" for one in runs)
    return f"{ready} | {', '.join(f'{one.wall:.1f}' for one in runs)}"


def _pull_all(lab: Lab) -> None:
    """Every image of a master on every node: Kubernetes' own, and those that the cluster runs by now."""
    there = "crictl images 2>/dev/null | awk 'NR > 1 { print $1 \":\" $2 }'"
    needed = sorted({line for text in lab.everywhere(there, MASTERS).values() for line in text.split()})
    lab.everywhere(
        "export CONTAINER_RUNTIME_ENDPOINT=unix:///run/containerd/containerd.sock\n"
        + "".join(f"crictl inspecti -q {i} >/dev/null 2>&1 || crictl pull {i} >/dev/null\n" for i in needed),
        NODES,
    )


def _flannel(lab: Lab) -> bytes:
    """Flannel's manifest as the mirror serves it."""
    from mlops_infra.lab.mirror import default_directory  # noqa: PLC0415

    return max((default_directory() / "files/flannel").rglob("kube-flannel.yml")).read_bytes()


def _by_hand(lab: Lab, manifest: Path) -> Timed:
    words = ["bash", str(Path(__file__).with_name("by_hand.sh")), str(lab.key), str(manifest)]
    return _timed(lab, words, lab.directory / "hand.log", {"NETNS": lab.namespace})


def _by_product(lab: Lab) -> tuple[Timed, list[dict[str, Any]]]:
    one = _timed(lab, [PROGRAM, "--lab", "up", "--yes", "--no-smoke"], lab.directory / "up.log")
    newest = max((lab.directory / ".mlops-infra/lab/runs").iterdir()).name
    return one, journal_of(lab, newest)


def _timed(lab: Lab, words: list[str], log: Path, env: dict[str, str] | None = None) -> Timed:
    log.unlink(missing_ok=True)
    began = time.time()
    one = run(words, cwd=lab.directory, log=log, env=env)
    if one.rc:
        print(log.read_text()[-3000:])
        return Timed(one.wall, one.wall, one.rc)
    lab.wait_ready()
    return Timed(max(map(_seconds, lab.root("master-1", READY).split())) - began, one.wall, 0)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _prepared(journal: list[dict[str, Any]]) -> float:
    """Seconds from the journal's beginning until the first master began its init."""
    intents = [e["at"] for e in journal if e["what"] == "operation_intent"]
    return float((intents[0] if intents else journal[-1]["at"]) - journal[0]["at"])


def main() -> int:
    words = sys.argv[1:]
    rounds = next((int(word) for word in words if word.isdigit()), 2)
    both = not {"bare", "held"} & set(words)
    os.environ["NO_COLOR"] = "1"
    failed = 0
    with bench_lab() as lab:
        if both or "bare" in words:
            failed |= bare(lab)
        if both or "held" in words:
            failed |= held(lab, rounds)
    return failed


if __name__ == "__main__":
    sys.exit(main())
