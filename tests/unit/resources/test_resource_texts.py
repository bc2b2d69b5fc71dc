"""Files that are edited rather than owned: what is not ours comes through byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlops_infra.core import Facts, ReadText, Resource, Unreadable
from mlops_infra.resources import (
    ApiObjects,
    File,
    GuardedCommand,
    HostsEntries,
    Packages,
    SwapOff,
    UnitState,
    User,
    restart_unit,
)
from mlops_infra.resources.hosts_entries import BEGIN, END
from mlops_infra.resources.swap import without_swap
from mlops_infra.resources.text import unified

LINES = st.lists(
    st.sampled_from(
        [f"{BEGIN}\n", f"{END}\n", f" {END} \n", "127.0.0.1 localhost\n", "# x", "\n", "\t \r\n", "1 a b\n"]
    )
).map("".join)
ENTRIES = HostsEntries((("10.0.0.1", ("api", "api.demo.internal")), ("fd00::1", ("six",))))


@given(LINES)
def test_the_hosts_block_is_put_in_once_and_then_stays(text: str) -> None:
    once = ENTRIES.applied_to(text)
    assert ENTRIES.applied_to(once) == once
    assert once.count("10.0.0.1 api api.demo.internal\n") == 1


@given(st.text(alphabet="ab #\n\t", max_size=60))
def test_lines_around_the_hosts_block_stay_as_they_are(text: str) -> None:
    with_block = ENTRIES.applied_to(text)
    assert HostsEntries(()).applied_to(with_block) in {text, text + "\n"}


FSTAB = ("/swap none swap sw 0 0", "#/swap none swap", "UUID=1 / ext4 swap", "", "swap")


@given(st.lists(st.sampled_from(FSTAB), min_size=1))
def test_only_active_lines_of_type_swap_are_commented_out_of_fstab(lines: list[str]) -> None:
    text = "\n".join(lines)
    new = without_swap(text)
    assert without_swap(new) == new
    kept = [line.removeprefix("# mlops-infra: ") for line in new.split("\n")]
    assert kept == lines
    assert sum(line.startswith("# mlops-infra: ") for line in new.split("\n")) == lines.count("/swap none swap sw 0 0")


def test_a_long_diff_is_cut_with_a_word_about_the_rest() -> None:
    said = unified([], [f"{n}\n" for n in range(5000)], "/x").splitlines()
    assert len(said) == 401 and said[-1].endswith("more lines")


def test_every_resource_has_something_to_say_about_a_host_of_which_nothing_is_known() -> None:
    """No facts is never taken for "all is well" by what can be made to hold."""
    wanted: list[Resource] = [
        File("/x", "x"),
        Packages("p", {"p": None}),
        UnitState("x.service", enabled=True),
        GuardedCommand("g", "true", "true"),
        User("u"),
        ApiObjects("o", ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},)),
    ]
    assert [r.id for r in wanted if r.diff(Facts()) is None] == []


def test_a_file_that_cannot_be_read_is_never_edited() -> None:
    unreadable = Facts({ReadText("/etc/hosts"): Unreadable("why"), ReadText("/etc/fstab"): Unreadable("why")})
    change = ENTRIES.diff(unreadable)
    assert change is not None and "exit 1" in repr(change.actions)
    assert SwapOff().diff(unreadable) is None


def test_ids_are_unique_on_a_host_and_survive_a_round_through_a_set() -> None:
    resources: list[Resource] = [File("/x", "a"), File("/y", "a"), UnitState("x.service"), Packages("x", {})]
    assert len({r.id for r in resources}) == len(resources)
    assert restart_unit("a") == restart_unit("a")
