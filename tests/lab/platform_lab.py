"""A lab of the reference platform for the suite, and what the tests ask it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instances import free_instance

__all__ = ["HOSTS", "INSTANCE", "PlatformLab", "verbose_sshd", "wait_for"]

HOSTS = ("lb-1", "master-1", "master-2", "master-3", "worker-1", "worker-2", "worker-3")

INSTANCE = os.environ.get("MLOPS_INFRA_TEST_INSTANCE") or free_instance("p")
"""Beside whatever other lab is up on this machine."""
MAIN = "from mlops_infra.cli.main import main; main()"


def wait_for(what: Callable[[], bool], timeout: float = 120, every: float = 0.5) -> None:
    """Until `what` holds; the test fails after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(every)


@dataclass(frozen=True)
class PlatformLab:
    """The command line with a cluster.yaml and a lab of its own; every call is a process, as a user's would be."""

    config: Path

    @property
    def state(self) -> Path:
        return self.config.parent / ".mlops-infra" / "lab"

    @property
    def environment(self) -> dict[str, str]:
        named = {"MLOPS_INFRA_LAB_INSTANCE": INSTANCE, "MLOPS_INFRA_CONFIG": str(self.config)}
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {**inherited, **named, "NO_COLOR": "1", "PYTHONFAULTHANDLER": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # A suite that was started in the background ignores SIGINT, and its children would too; a user's do not.
        return subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-c", MAIN, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        child = self.start(*arguments)
        try:
            out, err = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            # With PYTHONFAULTHANDLER it says where each of its threads is.
            child.send_signal(signal.SIGABRT)
            out, err = child.communicate()
            last = "\n".join(map(json.dumps, self.journal_of_newest_run()[-12:]))
            raise AssertionError(f"{arguments} took over {timeout} s\n{err[-6000:]}\n{last}\n{out[-1500:]}") from None
        finally:
            if child.poll() is None:
                # The test ran out of time: what it began must not meet the tests after it.
                child.kill()
                child.communicate()
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    def __call__(self, *arguments: str, rc: int = 0, timeout: float = 600) -> str:
        """Standard output; the exit code is asserted."""
        done = self.run(*arguments, timeout=timeout)
        assert done.returncode == rc, f"{arguments}: exit {done.returncode}\n{self._told(done)}"
        return done.stdout

    def _told(self, done: subprocess.CompletedProcess[str]) -> str:
        """What went wrong, before everything else that was printed: a log that is cut keeps its beginning."""
        told = [done.stderr[-3000:]]
        if done.stdout.startswith("{"):
            answer = json.loads(done.stdout)
            told += [json.dumps(r) for r in answer.get("results", ()) if r["outcome"] not in ("ok", "changed")]
            told += [json.dumps(c) for c in (answer.get("smoke") or {}).get("checks", ()) if c["result"] != "ok"]
        return "\n".join([*told, done.stdout[-1500:]])

    def json(self, *arguments: str, rc: int = 0, timeout: float = 600) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self("--lab", "--json", *arguments, rc=rc, timeout=timeout))
        return answer

    def up(self, rc: int = 0) -> dict[str, Any]:
        # Longer than each of its waits after the other: then it says itself what it waited for.
        return self.json("up", "--yes", rc=rc, timeout=1300)

    def watch(self, on: bool) -> None:
        """Monitoring is switched on or off in the file; `up` has to follow."""
        text = self.config.read_text()
        words = {True: "monitoring:\n  enabled: true", False: "monitoring:\n  enabled: false"}
        changed = text.replace(words[not on], words[on])
        assert words[on] in changed, "cluster.yaml is not as the suite knows it"
        self.config.write_text(changed)

    def on(self, host: str, script: str, *, check: bool = True) -> str:
        """A script as root on a host, by the lab's own way in."""
        child = subprocess.run(
            [sys.executable, "-c", MAIN, "lab", "exec", host, "--", script],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or child.returncode == 0, f"{host}: {script}: exit {child.returncode}\n{child.stderr}"
        return child.stdout

    def kubectl(self, words: str, master: str = "master-1") -> str:
        return self.on(master, f"kubectl --kubeconfig /etc/kubernetes/admin.conf {words}")

    def nodes(self, master: str = "master-1") -> dict[str, bool]:
        """Name of each node, and whether it is Ready."""
        items = json.loads(self.kubectl("get nodes -o json", master))["items"]
        return {
            n["metadata"]["name"]: any(
                c["type"] == "Ready" and c["status"] == "True" for c in n["status"]["conditions"]
            )
            for n in items
        }

    def changes(self, plan: dict[str, Any]) -> dict[tuple[str, str], str]:
        """(host, resource or operation) → reason."""
        said: dict[tuple[str, str], str] = {}
        for step in plan["steps"]:
            said |= {(step["host"], c["resource"]): c["reason"] for c in step["changes"]}
            said |= {(step["host"], o["id"]): o["reason"] for o in step["operations"]}
        return said

    def sessions(self, host: str) -> int:
        """SSH channels that were opened on a host, by sshd's own log (needs LogLevel VERBOSE)."""
        # --sync: on a busy machine the line of this very session may be on its way to the journal still.
        count = "journalctl --sync; journalctl -q -o cat --no-pager | grep -c '^Starting session:' || :"
        return int(self.on(host, count))

    def journal_of_newest_run(self) -> list[dict[str, Any]]:
        runs = sorted((self.state / "runs").glob("*/journal.jsonl"))
        lines = runs[-1].read_text().splitlines() if runs else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def killed(self, *words: str, when: Callable[[list[dict[str, Any]]], bool], timeout: float = 900) -> None:
        """Start a command and SIGKILL it as soon as its journal says so; the test fails when it ended before that."""
        before = set((self.state / "runs").glob("*"))
        child = self.start("--lab", *words, "--yes")
        end = time.monotonic() + timeout
        try:
            while child.poll() is None:
                assert time.monotonic() < end, "the moment to kill never came"
                if set((self.state / "runs").glob("*")) - before and when(self.journal_of_newest_run()):
                    child.send_signal(signal.SIGKILL)
                    return
                time.sleep(0.05)
        finally:
            child.kill()
            out, err = child.communicate()
        raise AssertionError(
            f"{words} ended with {child.returncode} before it could be killed\n{out[-4000:]}\n{err[-4000:]}"
        )


def verbose_sshd(lab: PlatformLab) -> None:
    """sshd tells of every channel, so that they can be counted."""
    for host in HOSTS:
        lab.on(host, "echo LogLevel VERBOSE > /etc/ssh/sshd_config.d/verbose.conf && systemctl reload ssh")
