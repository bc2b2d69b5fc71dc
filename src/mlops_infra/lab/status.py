"""How the lab stands: which one is up, and each of its hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlops_infra.lab import host, mirroring, state
from mlops_infra.lab.cgroup import discover
from mlops_infra.lab.errors import LabError
from mlops_infra.lab.host import HostStatus
from mlops_infra.lab.requirements import need_root
from mlops_infra.lab.state import LabState

__all__ = ["LabStatus", "current", "statuses"]


@dataclass(frozen=True, slots=True)
class LabStatus:
    """`bridge` is the lab's own address in the network of the hosts; `mirror` says whether the mirror serves there."""

    name: str
    config: Path
    bridge: str
    mirror: bool
    hosts: tuple[HostStatus, ...]

    def as_data(self) -> dict[str, Any]:
        """The shape that `lab status --json` prints (docs/reference/lab.md)."""
        hosts = [asdict(one) for one in self.hosts]
        return {
            "name": self.name,
            "config": str(self.config),
            "bridge": self.bridge,
            "mirror": self.mirror,
            "hosts": hosts,
        }


def current(config: Path | None = None) -> LabState:
    """The lab that is up. Raises LabError when there is none, or when it is not that of `config`."""
    need_root()
    found = state.load()
    if found is None:
        raise LabError("there is no lab on this machine", remedy="mlops-infra lab up")
    if config is not None and found.config != config.resolve():
        raise other_lab(found)
    return found


def other_lab(found: LabState) -> LabError:
    return LabError(
        f"the lab on this machine is the one of {found.config}",
        cause="there can be one lab at a time",
        remedy=f"mlops-infra -c {found.config} lab down, or name that file with -c",
    )


def statuses(config: Path | None = None) -> LabStatus:
    """How the lab and its hosts stand. Raises LabError as `current` does."""
    lab = current(config)
    hierarchies = discover()
    with ThreadPoolExecutor(max(1, len(lab.twin.hosts))) as pool:
        hosts = tuple(pool.map(lambda one: host.status(one, hierarchies), lab.twin.hosts))
    return LabStatus(lab.twin.name, lab.config, lab.twin.bridge_address, mirroring.is_serving(), hosts)
