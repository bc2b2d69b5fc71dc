"""What the scripts of bench/ make of what they read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from readings import Fault, Memory, Taken, arrivals, memory_of, memory_table, waiting_times, within

ROOT = Path(__file__).resolve().parents[3]
MIB = 1 << 20


class TestMemory:
    def test_of_cgroup_v1_is_that_of_the_whole_tree_and_the_kernels_from_its_own_file(self) -> None:
        text = f"cache 7\nrss 9\ntotal_cache {300 * MIB}\ntotal_rss {100 * MIB}\ntotal_inactive_file 5\n"
        assert memory_of(text, 20 * MIB) == Memory(100 * MIB, 20 * MIB, 300 * MIB)

    def test_of_cgroup_v2_has_the_kernels_in_the_same_file(self) -> None:
        assert memory_of("anon 100\nfile 300\nkernel 25\nkernel_stack 5\nslab 20\n") == Memory(100, 25, 300)

    def test_of_an_older_kernel_is_the_sum_of_its_parts(self) -> None:
        assert memory_of("anon 100\nfile 300\nkernel_stack 5\npagetables 3\nslab 20\nsock 9\n") == Memory(100, 28, 300)

    def test_a_text_that_is_none_is_refused(self) -> None:
        with pytest.raises(KeyError):
            memory_of("oom_kill 0\n")

    def test_the_table_ends_with_the_sum(self) -> None:
        lines = memory_table({"m1": Memory(100 * MIB, 20 * MIB, MIB), "w1": Memory(50 * MIB, 10 * MIB, 2 * MIB)})
        assert lines[2:] == ["| m1 | 100 | 20 | 120 | 1 |", "| w1 | 50 | 10 | 60 | 2 |", "| all | 150 | 30 | 180 | 3 |"]


class TestArrivals:
    @pytest.fixture
    def world(self) -> list[str]:
        """What was made and mended, in order."""
        return []

    def fault(self, world: list[str], name: str) -> Fault:
        def put(word: str) -> Callable[[], object]:
            return lambda: world.append(f"{word} {name}")

        return Fault(name, name.title(), {}, put("make"), put("mend"))

    def test_each_alert_is_timed_and_what_does_not_come_is_told(self, world: list[str]) -> None:
        faults = [self.fault(world, "power"), self.fault(world, "disk")]
        came = arrivals(faults, lambda f: f.name == "power" and "make power" in world, 0.05, pause=0.01)
        assert came["disk"] is None
        assert came["power"] is not None and 0 <= came["power"] < 0.05
        assert world == ["make power", "make disk", "mend power", "mend disk"]

    def test_an_alert_that_was_there_before_is_no_figure(self, world: list[str]) -> None:
        with pytest.raises(SystemExit, match="before the fault: power"):
            arrivals([self.fault(world, "power")], lambda _: True, 1)
        assert world == []

    def test_what_was_made_is_mended_when_the_next_cannot_be_made(self, world: list[str]) -> None:
        def fails() -> object:
            raise SystemExit("no disk to fill")

        broken = Fault("disk", "Disk", {}, fails, lambda: world.append("mend disk"))
        last = self.fault(world, "last")
        with pytest.raises(SystemExit, match="no disk"):
            arrivals([self.fault(world, "power"), broken, last], lambda _: False, 1)
        assert world == ["make power", "mend power", "mend disk"]

    def test_a_mending_that_fails_does_not_keep_the_others_from_theirs(self, world: list[str]) -> None:
        def fails() -> object:
            raise SystemExit("it does not boot")

        first = Fault("power", "Power", {}, lambda: None, fails)
        with pytest.raises(SystemExit, match="does not boot"):
            arrivals([first, self.fault(world, "disk")], lambda _: bool(world), 1)
        assert "mend disk" in world


def test_waiting_times_are_known_for_every_alert_that_the_bench_provokes() -> None:
    found: dict[tuple[str, str], str] = {}
    for path in (ROOT / "templates/monitoring/rules").glob("*.yaml"):
        found |= waiting_times(path.read_text())
    assert found["NodeFilesystemAlmostOutOfSpace", "critical"] == "5m"
    assert found["NodeFilesystemAlmostOutOfSpace", "warning"] == "10m"
    assert {
        ("HostDown", "critical"),
        ("KubePodCrashLooping", "warning"),
        ("TargetDown", "warning"),
        ("BackupTooOld", "warning"),
    } <= found.keys()


class TestSizes:
    FIRST = Taken(8_000_000, 900, 2_000_000, 4.0, {"snapshot": 0.5}, 3)

    def test_a_row_has_as_many_cells_as_the_heading(self) -> None:
        heading, rule = Taken.heading()
        assert heading.count("|") == rule.count("|") == self.FIRST.row().count("|")
        assert self.FIRST.row().startswith("| 8.0 | 900 | 2.0 | 3 | **4.0** | 0.00 | 0.50 |")

    @pytest.mark.parametrize(("left", "fits"), [(143, False), (145, True)])
    def test_a_size_fits_by_what_the_one_before_took_beyond_the_first(self, left: float, *, fits: bool) -> None:
        last = Taken(100_000_000, 1000, 100_000_000, 8.0, {}, 1, filled=10.0)
        assert within(left, 1_000_000_000, 150.0, self.FIRST, last) is fits

    def test_a_writer_that_is_stopped_costs_no_more_than_its_time(self) -> None:
        last = Taken(100_000_000, 1000, 100_000_000, 4.0, {}, 1, filled=1000.0)
        assert within(154.5, 1_000_000_000, 150.0, self.FIRST, last)
