"""The mirror in the lab: built when it is not, served on the bridge's address, ended with the lab."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlops_infra.core import Emit
from mlops_infra.lab.cgroup import Hierarchies
from mlops_infra.lab.mirror import MirrorPlan, MirrorServer, default_directory, ensure_built
from mlops_infra.lab.mirror.components import OPTIONAL_COMPONENTS
from mlops_infra.lab.paths import MIRROR_CGROUP, NETWORK_NAMESPACE, STATE
from mlops_infra.lab.twin import Twin
from mlops_infra.model.cluster import Cluster

__all__ = ["is_serving", "serve", "stop"]

_HOME = STATE / "mirror"


def _server(directory: Path, address: str) -> MirrorServer:
    return MirrorServer(directory, address, namespace=NETWORK_NAMESPACE, state=_HOME)


def is_serving() -> bool:
    """Whether both of the mirror's processes run; by their pid files, wherever the mirror itself lies."""
    return _server(_HOME, "").running()


def serve(cluster: Cluster, twin: Twin, site: Path, hierarchies: Hierarchies, emit: Emit) -> None:
    """Build the mirror of this cluster's versions where it is not built yet, serve it in the lab's network, and put its
    key where the overlay names it. Both processes go into a cgroup of the lab, where `lab down` finds them."""
    # What cluster.yaml leaves out may be switched on in a lab that runs.
    plan = MirrorPlan.of(cluster).with_components(*OPTIONAL_COMPONENTS)
    mirror = ensure_built(default_directory(), emit, plan=plan)
    server = _server(mirror.directory, twin.bridge_address)
    server.start()
    hierarchies.adopt(MIRROR_CGROUP, tuple(server.pids().values()))
    shutil.copyfile(mirror.key_file, site / "apt-key.asc")


def stop() -> None:
    """End the mirror by its pid files; nothing happens when it does not run."""
    if _HOME.is_dir():
        _server(_HOME, "").stop()
