"""The commands of every week, on a platform with LoadBalancer addresses and ingress: cluster.yaml as it is shipped.

    python bench/weekly.py [ROUNDS]

From bare hosts to a smoke test that passes, and where that time goes; then whole processes, one kind after the other:
`up` with nothing to do, `smoke`, `doctor` on the healthy platform, `backup etcd` with its steps.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from common import Run, median, run, table
from fresh import journal_of, split_of
from own_lab import PROGRAM, Lab, bench_lab
from results import publish

SETTLED = 180
"""Seconds in which a fresh platform must have no finding left."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed behind `mlops-infra --lab`, the most seconds it may take, and how often it is tried."""

    words: tuple[str, ...]
    most: float
    rounds: int

    @property
    def name(self) -> str:
        return f"mlops-infra {' '.join(self.words)}"


def tried(lab: Lab, command: Command, *, warm: bool = True) -> tuple[list[Run], list[dict[str, Any]]]:
    """With `warm` a round before is not counted. The answers are of the counted rounds; SystemExit where one does not
    end well."""
    log = lab.directory / "weekly.log"
    runs, answers = [], []
    for number in range(not warm, command.rounds + 1):
        log.unlink(missing_ok=True)
        done = run([PROGRAM, "--lab", "--json", *command.words], cwd=lab.directory, log=log)
        text = log.read_text()
        if done.rc:
            raise SystemExit(f"{command.name}: exit {done.rc}\n{text[-3000:]}")
        if number:
            runs.append(done)
            answers.append(answer_of(text))
    return runs, answers


def answer_of(text: str) -> dict[str, Any]:
    """The JSON among what goes to the terminal beside it."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text[f"\n{text}".index("\n{") :])[0]
    return found


def fresh(lab: Lab) -> tuple[list[str], bool]:
    """From bare hosts until the smoke test has passed: lines of the result, and whether it has."""
    lab.product("lab", "reset", "--yes")
    began, started = time.monotonic(), time.time()
    report = lab.product_json("--lab", "up", "--yes")
    whole = time.monotonic() - began
    smoke = report.get("smoke") or {}
    passed = bool(smoke.get("ok"))
    trying = float(smoke.get("seconds", 0.0))
    lines = [
        f"`up` from bare hosts to a smoke test that {'passed' if passed else 'DID NOT PASS'}: {whole:.1f} s, "
        f"of it {trying:.1f} s the smoke test itself.",
        "",
        *split_of(journal_of(lab, report["run"]), started),
    ]
    return lines, passed


def wait_healthy(lab: Lab) -> None:
    """A platform that was made a second ago still settles: leases, endpoints, backends that HAProxy takes in."""
    end = time.monotonic() + SETTLED
    while True:
        answer = json.loads(lab.product("--lab", "--json", "doctor", ok=(0, 2)))
        if not answer["findings"]:
            return
        if time.monotonic() > end:
            raise SystemExit(f"not healthy after {SETTLED} s: {answer['findings'][0]}")
        time.sleep(2)


def middle_of(answers: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each step of the backups."""
    return {name: statistics.median(answer["steps"][name] for answer in answers) for name in answers[0]["steps"]}


def steps_of(answers: list[dict[str, Any]]) -> list[str]:
    return [
        "| step of `backup etcd` | s |",
        "|---|---|",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in middle_of(answers).items()),
    ]


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    commands = (
        Command(("up", "--yes"), 3.0, rounds),
        Command(("doctor",), 3.0, rounds),
        Command(("smoke",), 15.0, max(1, rounds // 2)),
        Command(("backup", "etcd"), 10.0, max(1, rounds // 2)),
    )
    with bench_lab() as lab:
        lab.ship()
        said, passed = fresh(lab)
        wait_healthy(lab)
        found = {command: tried(lab, command) for command in commands}
        hosts = len(lab.names)
    told = [f"{answer['channels']} channels" for answer in found[commands[1]][1] if answer["channels"] != hosts]
    rows = [f"- `{c.name}`: {median(runs):.2f} s (to reach: at most {c.most:g} s)" for c, (runs, _) in found.items()]
    publish(
        "weekly",
        "The commands of every week, with LoadBalancer addresses and ingress",
        [
            table({f"`{c.name}`": runs for c, (runs, _) in found.items()}),
            "",
            *rows,
            "",
            *steps_of(found[commands[3]][1]),
            "",
            *said,
        ],
    )
    missed = [c.name for c, (runs, _) in found.items() if median(runs) > c.most]
    print("\n".join([*(f"missed: {name}" for name in missed), *told]))
    return int(bool(missed or told) or not passed)


if __name__ == "__main__":
    sys.exit(main())
