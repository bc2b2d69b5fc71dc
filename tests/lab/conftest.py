"""The labs of the suite: a small one for the tests of the lab itself, one of the reference platform for all others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_lab import PlatformLab, verbose_sshd
from small_lab import SmallLab

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("systemd-nspawn", "mmdebstrap", "ip")


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    """A master and a worker, booted; taken away afterwards, whatever happened."""
    _skip_where_no_lab_can_be()
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


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformLab]:
    """Seven hosts of the reference platform, bare at first, and their mirror; taken away afterwards, whatever happened.

    One platform serves the whole suite: its modules are chapters of one life, each fit to be run alone as well.
    """
    _skip_where_no_lab_can_be()
    config = tmp_path_factory.mktemp("platform") / "cluster.yaml"
    config.write_text((ROOT / "cluster.yaml").read_text())
    lab = PlatformLab(config)
    lab.run("lab", "down")
    try:
        lab("lab", "up", "--install", "--yes", timeout=3000)
        verbose_sshd(lab)
        yield lab
    finally:
        lab.run("lab", "down")


@pytest.fixture(scope="module")
def platform(lab: PlatformLab) -> PlatformLab:
    """The lab's hosts as a platform: built where they are bare, mended where a chapter before left them astray.

    Without monitoring, which is a fifth of the machine's work: `shipped` has it.
    """
    _built(lab, watched=False)
    return lab


@pytest.fixture(scope="module")
def shipped(lab: PlatformLab) -> Iterator[PlatformLab]:
    """As `platform`, with all that cluster.yaml switches on as it is shipped."""
    _built(lab, watched=True)
    yield lab
    lab.watch(False)


_unbuilt: list[str] = []
"""Why there is no platform: told once, where it happened; each chapter would wait for it as long again."""


def _built(lab: PlatformLab, *, watched: bool) -> None:
    if _unbuilt:
        pytest.fail(f"an earlier chapter could not have its platform: {_unbuilt[0]}", pytrace=False)
    lab.run("lab", "heal")
    lab.watch(watched)
    try:
        lab.up()
    except (AssertionError, pytest.fail.Exception) as error:
        _unbuilt.append(str(error)[:300])
        raise


def _skip_where_no_lab_can_be() -> None:
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"not installed: {', '.join(missing)} (mlops-infra lab up --install)")


FIRST = ("test_lab_hosts.py", "test_platform.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The life of the platform begins with bare hosts: its first chapters come before those that take it as built."""
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(FIRST)) if item.path.parent.name == "lab" else -1)
