"""A lab of the bench's own: the reference platform of cluster.yaml in a directory and a lab instance of its own.

Every script that needs hosts begins with `with bench_lab() as lab:`. The lab is taken away at the end, unless
`bench/run_all.sh` made it for all of them (MLOPS_INFRA_BENCH_SITE names its directory).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLOPS_INFRA_LAB_INSTANCE", "b")  # before the next imports: names are made from it

from ruamel.yaml import YAML

from mlops_infra.lab.clients import ssh_command
from mlops_infra.lab.paths import NETWORK_NAMESPACE
from mlops_infra.lab.status import current
from mlops_infra.lab.twin import Twin

__all__ = ["LB", "MASTERS", "NODES", "PROGRAM", "WORKERS", "Lab", "bench_lab", "without_addons"]

PROGRAM = str(Path(sys.executable).parent / "mlops-infra")
LB = "lb-1"
MASTERS = ("master-1", "master-2", "master-3")
WORKERS = ("worker-1", "worker-2", "worker-3")
NODES = MASTERS + WORKERS
_EXAMPLE = Path(__file__).parents[1] / "cluster.yaml"


@dataclass(frozen=True, slots=True)
class Lab:
    """`directory` holds cluster.yaml and `.mlops-infra/lab/`; `namespace` is where a client of the platform lives."""

    directory: Path
    namespace: str = NETWORK_NAMESPACE

    @property
    def config(self) -> Path:
        return self.directory / "cluster.yaml"

    @property
    def key(self) -> Path:
        return self.directory / ".mlops-infra/lab/id_ed25519"

    @property
    def twin(self) -> Twin:
        return current(self.config).twin

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.twin.hosts)

    def inside(self, *words: str) -> list[str]:
        """A command line that runs in the lab's network."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def product(self, *words: str, ok: Sequence[int] = (0,), log: Path | None = None) -> str:
        """Standard output of mlops-infra; SystemExit with its last words when the exit code is not one of `ok`."""
        done = subprocess.run([PROGRAM, *words], cwd=self.directory, capture_output=True, text=True, check=False)
        if log:
            log.write_text(done.stdout + done.stderr)
        if done.returncode not in ok:
            said = (done.stdout + done.stderr)[-3000:]
            raise SystemExit(f"mlops-infra {' '.join(words)}: exit {done.returncode}\n{said}")
        return done.stdout

    def product_json(self, *words: str) -> Any:
        return json.loads(self.product(*words, "--json"))

    def root(self, host: str, script: str, *, check: bool = True) -> str:
        """Runs a shell script on a host as root and gives its standard output."""
        command = ssh_command(self.twin.host(host), self.config, ["sh -s"], as_root=True)
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise SystemExit(f"{host}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def everywhere(self, script: str, hosts: Sequence[str] | None = None, *, check: bool = True) -> dict[str, str]:
        names = list(hosts or self.names)
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(lambda h: self.root(h, script, check=check), names), strict=True))

    def wait_ready(self) -> None:
        """Until all six nodes are Ready, as by_hand.sh ends."""
        self.root(
            "master-1",
            "export KUBECONFIG=/etc/kubernetes/admin.conf\n"
            f"until [ $(kubectl get nodes -o name | wc -l) -ge {len(NODES)} ]; do sleep 0.2; done\n"
            "kubectl wait --for=condition=Ready node --all --timeout=300s >/dev/null\n",
        )

    def ship(self) -> None:
        """cluster.yaml becomes the one that is shipped, and the mirror serves what that asks for."""
        shutil.copyfile(_EXAMPLE, self.config)
        self.product("lab", "up", "--install", "--yes")

    def rewrite(self, change: Callable[[Any], None]) -> None:
        """cluster.yaml becomes the one that is shipped, but for what `change` does to its document."""
        _write_changed(self.config, change)

    def ensure_platform(self) -> None:
        """The platform is up and a further `up` finds nothing to do."""
        self.product("--lab", "up", "--yes", "--no-smoke")
        self.wait_ready()


def without_addons(document: Any) -> None:
    """Leaves out what stands on top of a platform: MetalLB, an ingress controller, volumes, metrics, monitoring."""
    document["metallb"] = {"enabled": False}
    document["ingress"] = {"controller": "none"}
    document["storage"] = {"class": "none"}
    document["metrics"] = {"enabled": False}
    document["monitoring"] = {"enabled": False}


def _write_config(path: Path, *, small: bool) -> None:
    """The example without its add-ons: they have no counterpart in by_hand.sh, and nothing to do with a node's being
    Ready. `small`: one master and the first worker are enough."""

    def change(document: Any) -> None:
        without_addons(document)
        if small:
            document["hosts"]["masters"] = document["hosts"]["masters"][:1]
            document["hosts"]["workers"] = document["hosts"]["workers"][:1]

    _write_changed(path, change)


def _write_changed(path: Path, change: Callable[[Any], None]) -> None:
    yaml = YAML()
    document = yaml.load(_EXAMPLE)
    change(document)
    with path.open("w") as file:
        yaml.dump(document, file)


@contextmanager
def bench_lab(*, small: bool = False) -> Iterator[Lab]:
    """The bench's lab, booted. Needs root; what the machine lacks is installed. A `small` one has three hosts."""
    shared = os.environ.get("MLOPS_INFRA_BENCH_SITE")
    lab = Lab(Path(shared or tempfile.mkdtemp(prefix="mlops-infra-bench-")).resolve())
    lab.directory.mkdir(parents=True, exist_ok=True)
    if not lab.config.exists():
        _write_config(lab.config, small=small)
    try:
        lab.product("lab", "up", "--install", "--yes")
        yield lab
    finally:
        if not shared:
            lab.product("lab", "down", ok=(0, 1))
            shutil.rmtree(lab.directory, ignore_errors=True)
