"""The time of a backup reaches the place that node-exporter reads, and a backup is good without it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from mlops_infra.app import backup_mark
from mlops_infra.app.backup_mark import leave_mark
from mlops_infra.errors import InfraError
from mlops_infra.transport import Reply


class Master:
    name = "m1"

    def __init__(self, rc: int = 0, error: InfraError | None = None) -> None:
        self.rc, self.error = rc, error
        self.said = ""

    def exchange(self, command: str, payload: bytes, *, deadline: float) -> Reply:
        if self.error:
            raise self.error
        self.said = payload.decode()
        return Reply(self.rc, b"", "no space left")


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_script_leaves_a_readable_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    home = tmp_path / "metrics"
    monkeypatch.setattr(backup_mark, "TEXTFILES", str(home))
    monkeypatch.setattr(backup_mark, "_FILE", str(home / "backup.prom"))
    master = Master()
    assert leave_mark(master) == ()  # type: ignore[arg-type]
    subprocess.run([shell], input=master.said, text=True, check=True)
    text = (home / "backup.prom").read_text()
    metric = "mlops_infra_backup_last_success_timestamp_seconds"
    assert re.search(rf"^{metric} 1[0-9]{{9}}$", text, re.MULTILINE)
    assert f"# TYPE {metric} gauge" in text
    assert (home / "backup.prom").stat().st_mode & 0o777 == 0o644
    assert [p.name for p in home.iterdir()] == ["backup.prom"]


def test_a_mark_that_cannot_be_left_is_a_note(tmp_path: Path) -> None:
    assert leave_mark(Master(rc=1)) == ("monitoring does not know of this backup: no space left",)  # type: ignore[arg-type]
    broken = Master(error=InfraError("the link broke"))
    assert "the link broke" in leave_mark(broken)[0]  # type: ignore[arg-type]
