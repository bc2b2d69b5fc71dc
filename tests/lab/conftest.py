"""A small lab of its own for the tests of the lab itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from small_lab import SmallLab

NEEDED = ("systemd-nspawn", "mmdebstrap", "ip")


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """A master and a worker, booted; taken away afterwards, whatever happened."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)} (mlops-infra lab up --install)")
    config = tmp_path_factory.mktemp("small") / "cluster.yaml"
    config.write_text(
        "name: small\n"
        "ssh: {user: ubuntu}\n"
        "hosts:\n"
        "  masters: [{name: small-master, address: 10.119.7.11}]\n"
        "  workers:\n"
        "    - {name: small-worker, address: 10.119.7.12}\n"
    )
    lab = SmallLab(config)
    lab("down", rc=None)
    try:
        lab("up", "--no-mirror", "--install", timeout=600)
        yield lab
    finally:
        lab("down", rc=None)
