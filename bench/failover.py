"""New API connections through HAProxy, 20 a second, while a master loses power, or its cable, and comes back.

python bench/failover.py [MASTER]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from own_lab import LB, Lab, bench_lab
from results import publish

RATE = 20
BEFORE, DURING, AFTER = 4, 12, 25
"""Seconds of polling: untouched, with the fault, and from the healing on (a host boots in about 10)."""


def polled(lab: Lab, *events: tuple[float, str, list[str]]) -> tuple[dict[str, Any], list[str]]:
    """Poll, and run the product's own lab commands at their times; what was seen, and when each command had ended."""
    script, seconds = str(Path(__file__).with_name("poll_api.py")), str(BEFORE + DURING + AFTER)
    poll = lab.inside(sys.executable, script, lab.twin.host(LB).address, "6443", seconds, str(RATE))
    began = time.monotonic()
    child = subprocess.Popen(poll, stdout=subprocess.PIPE, text=True)
    said = []
    for at, name, words in events:
        time.sleep(max(0.0, began + at - time.monotonic()))
        begin = time.monotonic() - began
        lab.product(*words)
        said.append(f"{name} {begin:.1f} to {time.monotonic() - began:.1f} s")
    return json.loads(child.communicate()[0]), said


def main() -> int:
    master = sys.argv[1] if len(sys.argv) > 1 else "master-2"
    lines = [
        "| event | requests | failed | answered, but not ready | slower than 0.25 s | slowest s | polling late by s |",
        "|---|" + "---|" * 6,
    ]
    detail: list[str] = []
    failed = 0
    with bench_lab() as lab:
        lab.ensure_platform()
        for fault in ("power", "cable"):
            told, said = polled(
                lab,
                (BEFORE, f"{fault} fails", ["lab", "fail", fault, master]),
                (BEFORE + DURING, "healed", ["lab", "heal", master]),
            )
            failed += len(told["failed"])
            counts = (told["requests"], *(len(told[what]) for what in ("failed", "unready", "slow")))
            row = " | ".join(map(str, (*counts, told["slowest"], told["late"])))
            lines.append(f"| {master}: {fault}, then healed | {row} |")
            detail.append(f"- {fault}: {', '.join(said)}")
            detail += [f"  - failed at {at} s after {took} s: {why}" for at, took, why in told["failed"][:15]]
            detail.append(f"  - slow: {', '.join(f'{at} s ({took} s)' for at, took in told['slow'][:20]) or 'none'}")
            _settle(lab)
    title = f"New API connections through HAProxy, {RATE} a second, when a master fails"
    publish("failover", title, [*lines, "", *detail])
    return int(failed > 0)


def _settle(lab: Lab) -> None:
    lab.wait_ready()
    lab.product("--lab", "up", "--yes", "--no-smoke")


if __name__ == "__main__":
    sys.exit(main())
