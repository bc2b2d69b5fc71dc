"""Backups by the size of etcd's database, a drill, and the whole cluster back after its data was destroyed.

    python bench/recovery.py [--sizes MB,MB,…] [--minutes N]

On the whole platform. First a backup of the database as it is, a drill with it, and a restore after /var/lib/etcd of
all masters was destroyed; then the database is filled, and backed up at each size. What fills it lies beside what
belongs to Kubernetes (no API server reads it, as it would ConfigMaps, into its cache) and is taken away at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import median
from own_lab import MASTERS, Lab, bench_lab
from readings import Taken, within
from results import Part, measured, publish
from weekly import Command, middle_of, tried, wait_healthy

SIZES = "10,100,1000"
MINUTES = 22
FILLING = 330
"""Seconds that the writer may take for one size; what it has reached by then is what is measured."""
LARGE = 50_000_000
"""Bytes of a database from which one backup is enough, and its bundle does not stay."""
VALUE = 1_000_000
"""Bytes of what is written under one key; etcd takes requests of 1.5 MiB."""

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
WITNESS = "recovery-bench"
DESTROY = (
    "rm -rf /var/lib/etcd/member\n"
    "for id in $(ctr -n k8s.io containers ls -q 'labels.\"io.kubernetes.container.name\"==etcd'); do "
    "ctr -n k8s.io tasks kill -s KILL $id 2>/dev/null || :; done\n"
)
"""As in tests/lab/test_restore.py."""

# etcd's image holds etcdctl; a copy of it on the host can be given a file to read, and starts faster.
CLIENT = """\
set -eu
cd /var/tmp
keys=/mlops-infra-bench/
export ETCDCTL_ENDPOINTS=https://127.0.0.1:2379 ETCDCTL_CACERT=/etc/kubernetes/pki/etcd/ca.crt
export ETCDCTL_CERT=/etc/kubernetes/pki/etcd/server.crt ETCDCTL_KEY=/etc/kubernetes/pki/etcd/server.key
if [ ! -x bench-etcdctl ]; then
  for tool in /run/containerd/io.containerd.runtime.v2.task/k8s.io/*/rootfs/usr/local/bin/etcdctl; do
    [ ! -x "$tool" ] || { cp "$tool" bench-etcdctl; break; }
  done
fi
[ -x bench-etcdctl ] || { echo "etcdctl was not found in etcd's image" >&2; exit 1; }
"""
FILL = """\
head -c $((VALUE * 3 / 4)) /dev/urandom | base64 -w 0 >bench-value
end=$(($(date +%s) + SECONDS))
writer() {
  i=$1 failures=0
  while [ "$i" -lt TO ] && [ "$(date +%s)" -lt "$end" ]; do
    if ./bench-etcdctl --command-timeout=20s put "$keys$i" <bench-value >/dev/null 2>"bench-said.$1"; then
      i=$((i + 2))
    else
      # A leader that changes under the load refuses what comes meanwhile.
      failures=$((failures + 1))
      [ "$failures" -lt 20 ] || { cat "bench-said.$1" >&2; return 1; }
      sleep 0.5
    fi
  done
}
writer FROM & first=$!
writer $((FROM + 1)) & second=$!
wait $first
wait $second
"""
CLEAN = """\
./bench-etcdctl --command-timeout=120s del --prefix "$keys" >/dev/null
revision=$(./bench-etcdctl endpoint status -w json | sed -n 's/.*"revision":\\([0-9]*\\).*/\\1/p')
./bench-etcdctl --command-timeout=120s compact --physical "$revision" >/dev/null 2>bench-said || cat bench-said >&2
./bench-etcdctl --command-timeout=120s defrag --cluster >/dev/null
rm -f bench-etcdctl bench-value bench-said*
"""


def backed_up(lab: Lab, rounds: int, *, warm: bool, filled: float = 0.0) -> tuple[Taken, Path]:
    """Backups as they are, and the bundle of the last."""
    runs, answers = tried(lab, Command(("backup", "etcd"), math.inf, rounds), warm=warm)
    last = answers[-1]
    etcd = last["etcd"]
    taken = Taken(
        int(etcd["size"]), int(etcd["live_keys"]), int(last["size"]), median(runs), middle_of(answers), rounds, filled
    )
    return taken, Path(last["bundle"])


# ---- back again --------------------------------------------------------------------------------------------------


def as_it_is(lab: Lab, found: dict[str, Any]) -> Part:
    """The first row of the table, and the bundle for a drill and a restore: `found` gets both."""
    lab.root(
        "master-1",
        f"{KUBECTL} -n default delete configmap {WITNESS} --ignore-not-found >/dev/null\n"
        f"{KUBECTL} -n default create configmap {WITNESS} --from-literal=word=kept >/dev/null",
    )
    found["witness"] = witness(lab)
    found["taken"], found["bundle"] = backed_up(lab, 3, warm=True)
    return [], True


def witness(lab: Lab) -> str:
    """The uid of an object that was made before the backup."""
    return lab.root("master-1", f"{KUBECTL} -n default get configmap {WITNESS} -o jsonpath={{.metadata.uid}}").strip()


def drill(lab: Lab, found: dict[str, Any]) -> Part:
    done = json.loads(lab.product("--lab", "--json", "backup", "drill", str(found["bundle"]), ok=(0, 2)))
    keys, whole = done["keys"], "" if done["ok"] else " DID NOT BRING EVERYTHING BACK"
    return [
        f"`backup drill`{whole}: recovery time {done['seconds']:.1f} s ({_spent(done['steps'])}), recovery point "
        f"{done['recovery_point_seconds']} s before it; {keys['found']} of {keys['expected']} keys and "
        f"{done['objects']} objects on {done['host']}."
    ], bool(done["ok"])


def restored(lab: Lab, found: dict[str, Any]) -> Part:
    """From the command, typed when etcd's data is gone from all masters, until the smoke test has passed."""
    bundle, uid = str(found["bundle"]), found["witness"]
    lab.everywhere(DESTROY, MASTERS)
    began = time.monotonic()
    answer = json.loads(lab.product("--lab", "--json", "backup", "restore", bundle, "--yes", ok=(0, 2)))
    whole = time.monotonic() - began
    found["back"] = True
    same, passed = witness(lab) == uid, bool(answer["smoke"]["ok"])
    findings = ", ".join(sorted({finding["check"] for finding in answer["doctor"]["findings"]})) or "nothing"
    smoke, there = "passed" if passed else "DID NOT PASS", "is there again, under its uid" if same else "IS MISSING"
    return [
        f"`backup restore` after /var/lib/etcd of all masters was destroyed: **{whole - answer['steps']['doctor']:.1f} "
        f"s** from the command to a smoke test that {smoke}; {whole:.1f} s with the doctor, who comes last and found "
        f"{findings} ({_spent(answer['steps'])}). An object that was made before the backup {there}."
    ], passed and same


def _spent(steps: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items())


# ---- by size -----------------------------------------------------------------------------------------------------


def by_size(lab: Lab, sizes: list[int], end: float, found: dict[str, Any]) -> Part:
    """A row for each size that fits in the time; `end` is of time.monotonic()."""
    first: Taken = found["taken"]
    last, rows, notes, written = first, [first.row()], [], 0
    if "back" not in found:
        raise SystemExit("the platform is not back")
    try:
        for megabytes in sizes:
            target = megabytes * 1_000_000
            count = (target - last.size) // VALUE
            if count < 1:
                notes.append(f"- {megabytes} MB: it is larger as it is")
            elif written and not within(end - time.monotonic(), target, FILLING, first, last):
                notes.append(f"- {megabytes} MB: left out, no time was left (--minutes)")
            else:
                last = _at(lab, written, count, target)
                written += count
                rows.append(last.row())
                notes += _short(last, target)
    except SystemExit as problem:
        notes.append(f"- NOT MEASURED from here on: {str(problem)[-600:]}")
    finally:
        lab.root("master-1", CLIENT + CLEAN)
    complete = not any("NOT MEASURED" in note for note in notes)
    return ["`backup etcd` by the size of the database:", "", *Taken.heading(), *rows, "", *notes], complete


def _at(lab: Lab, written: int, count: int, target: int) -> Taken:
    """Fills up to `target` bytes with `count` values, and backs up."""
    began = time.monotonic()
    lab.root("master-1", fill_script(written, written + count))
    filled = time.monotonic() - began
    large = target >= LARGE
    taken, bundle = backed_up(lab, 1 if large else 3, warm=not large, filled=filled)
    if large:
        bundle.unlink()
    return taken


def _short(taken: Taken, target: int) -> list[str]:
    if taken.size >= 0.9 * target:
        return []
    return [f"- {target / 1e6:.0f} MB: {taken.size / 1e6:.0f} MB were reached in {taken.filled:.0f} s of writing"]


def fill_script(begin: int, end: int) -> str:
    """Values from `begin` up to, not including, `end`."""
    text = FILL.replace("VALUE", str(VALUE)).replace("SECONDS", str(FILLING))
    return CLIENT + text.replace("FROM", str(begin)).replace("TO", str(end))


# ---- all of it ---------------------------------------------------------------------------------------------------


def settled(lab: Lab) -> Part:
    """The platform is up, as it is shipped, and nothing is found."""
    lab.product("--lab", "up", "--yes", "--no-smoke")
    lab.wait_ready()
    wait_healthy(lab)
    return [], True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default=SIZES, metavar="MB,MB,…", help=f"of the database (default: {SIZES})")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"of all of it (default: {MINUTES:g})")
    asked = parser.parse_args()
    sizes = sorted(int(size) for size in asked.sizes.split(",") if size)
    end = time.monotonic() + 60 * asked.minutes
    found: dict[str, Any] = {}
    with bench_lab() as lab:
        lab.ship()
        parts: dict[str, Callable[[], Part]] = {
            "a platform that has settled": lambda: settled(lab),
            "a backup as it is": lambda: as_it_is(lab, found),
            "a drill": lambda: drill(lab, found),
            "a restore": lambda: restored(lab, found),
            "backups by size": lambda: by_size(lab, sizes, end, found),
        }
        lines, missed = measured(parts)
    publish("recovery", "Backups by size, a drill, a restore", lines)
    print("\n".join(f"missed: {what}" for what in missed))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
