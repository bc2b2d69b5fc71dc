"""The generated observe script under every sh that a host may have, on a temporary root."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_infra.core import (
    ABSENT,
    Command,
    CommandFact,
    KernelFeature,
    Package,
    PackageFact,
    Probe,
    ReadLink,
    ReadText,
    Sha256,
    Stat,
    StatFact,
    Swaps,
    Sysctl,
    System,
    Unit,
    Unknown,
    Unreadable,
)
from mlops_infra.engine.observe import ApiEndpoint, compile_observe
from mlops_infra.engine.parse import parse_answers

NONCE = "abcdef123456"
SHELLS = [s for s in (("dash",), ("bash", "--posix"), ("busybox", "sh")) if shutil.which(s[0])]

ask_shells = pytest.mark.parametrize("shell", SHELLS, ids=lambda s: s[0])


def ask(shell: tuple[str, ...], probes: list[Probe[Any]], tools: Path | None = None) -> dict[Probe[Any], Any]:
    script = compile_observe(probes, NONCE, ApiEndpoint("https://127.0.0.1:6443", "/nonexistent/admin.conf"))
    if tools is not None:
        script = script.replace(b"PATH=", f"PATH={tools}:".encode(), 1)
    done = subprocess.run([*shell, "-s"], input=script, capture_output=True, check=True, timeout=60)
    return dict(parse_answers(done.stdout, probes, NONCE))


@ask_shells
def test_files_of_every_kind_and_any_name(shell: tuple[str, ...], tmp_path: Path) -> None:
    plain, odd, gone = tmp_path / "plain", tmp_path / "o d'\"\n$(x)\\\t*", tmp_path / "gone"
    plain.write_bytes(b"text\n\0\ttab")
    odd.write_text("odd")
    odd.chmod(0o4750)
    (tmp_path / "link").symlink_to("a\nb\tc")
    (tmp_path / "broken").symlink_to(gone)
    os.mkfifo(tmp_path / "fifo")
    probes: list[Probe[Any]] = []
    for name in (plain, odd, gone, tmp_path, tmp_path / "link", tmp_path / "broken", tmp_path / "fifo"):
        probes += [Stat(str(name)), ReadLink(str(name)), Sha256(str(name)), ReadText(str(name))]
    probes.append(ReadText(str(plain), 3))
    facts = ask(shell, probes)
    owner = plain.owner()
    assert facts[Stat(str(odd))] == StatFact("file", 0o4750, owner, odd.group(), 3)
    assert facts[Stat(str(gone))] == ABSENT
    assert facts[Stat(str(tmp_path / "broken"))].kind == "symlink"
    assert facts[Stat(str(tmp_path / "fifo"))].kind == "other"
    assert facts[Stat(str(tmp_path))].kind == "directory"
    assert facts[ReadLink(str(tmp_path / "link"))] == "a\nb\tc"
    assert facts[ReadLink(str(plain))] == Unreadable("not a symbolic link")
    assert facts[Sha256(str(odd))] == hashlib.sha256(b"odd").hexdigest()
    assert facts[Sha256(str(tmp_path))] == Unreadable("not a regular file")
    assert facts[Sha256(str(tmp_path / "broken"))] == Unreadable("not a regular file")
    assert facts[ReadText(str(plain))] == "text\n\0\ttab"
    assert facts[ReadText(str(plain), 3)] == Unreadable("larger than 3 bytes")
    assert facts[ReadText(str(gone))] == ABSENT
    assert facts[ReadText(str(tmp_path / "fifo"))] == Unreadable("not a regular file")


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@ask_shells
@given(files=st.dictionaries(names.filter(lambda n: n not in (".", "..")), st.binary(max_size=300), max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_set_of_files_comes_back_as_it_is(
    shell: tuple[str, ...], files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    probes: list[Probe[Any]] = [Stat(str(root / "surely absent"))]
    for name, content in files.items():
        (root / name).write_bytes(content)
        probes += [Stat(str(root / name)), Sha256(str(root / name)), ReadText(str(root / name))]
    facts = ask(shell, probes)
    for name, content in files.items():
        assert facts[Stat(str(root / name))].size == len(content)
        assert facts[Sha256(str(root / name))] == hashlib.sha256(content).hexdigest()
        assert facts[ReadText(str(root / name))].encode("utf-8", "surrogateescape") == content
    assert facts[Stat(str(root / "surely absent"))] == ABSENT


@ask_shells
def test_numbers_of_proc_sys_are_read_whole(shell: tuple[str, ...]) -> None:
    """A shell that reads byte by byte gets only the first digit of each: `read` would say 1 for 10."""
    keys = ["kernel.pid_max", "net.ipv4.tcp_rmem", "kernel.ostype", "net.ipv4.ip_local_reserved_ports"]
    facts = ask(shell, [Sysctl(k) for k in [*keys, "no.such.key", "net.ipv4.route.flush"]])
    for key in keys:
        text = Path("/proc/sys", *key.split(".")).read_text()
        assert facts[Sysctl(key)] == " ".join(text.split())
    assert facts[Sysctl("no.such.key")] == ABSENT
    assert isinstance(facts[Sysctl("net.ipv4.route.flush")], Unreadable)


@ask_shells
def test_commands_end_with_their_status_their_time_or_their_limit(shell: tuple[str, ...]) -> None:
    told = Command("told", "echo 'a  b'; echo noise >&2; exit 3")
    slow = Command("slow", "sleep 20", timeout=1)
    endless = Command("endless", "yes")
    stdin = Command("stdin", "cat; echo end")
    facts = ask(shell, [told, slow, endless, stdin])
    assert facts[told] == CommandFact(3, "a  b\n")
    assert facts[slow] == Unknown("no answer within 1 s")
    assert isinstance(facts[endless], Unknown)
    assert facts[stdin] == CommandFact(0, "end\n")


@ask_shells
def test_the_host_describes_itself(shell: tuple[str, ...]) -> None:
    system = ask(shell, [System(), Swaps()])[System()]
    assert system.hostname == os.uname().nodename
    assert system.kernel == os.uname().release
    assert system.cpus >= 1
    assert system.memory > 2**28
    assert system.clock > 1_600_000_000
    told = subprocess.run(["ip", "-4", "-o", "addr", "show"], capture_output=True, text=True, check=True).stdout
    own = {line.split()[3].partition("/")[0] for line in told.splitlines()}
    assert set(system.addresses) == {address for address in own if not address.startswith("127.")}


@ask_shells
def test_features_are_told_from_what_the_kernel_shows(shell: tuple[str, ...]) -> None:
    facts = ask(shell, [KernelFeature("tmpfs"), KernelFeature("no-such-module")])
    assert facts == {KernelFeature("tmpfs"): True, KernelFeature("no-such-module"): False}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """dpkg-query and systemctl that answer as the real ones do, and count how often they are called."""
    folder = tmp_path / "tools"
    folder.mkdir()
    scripts = {
        "dpkg-query": "printf 'kubelet\\thi \\t1.31.4-1.1\\nhalf\\tiU \\t1\\nremoved\\trc \\t2\\n'; exit 1",
        "systemctl": "printf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\n"
        "UnitFileState=enabled\\nNeedDaemonReload=yes\\n\\nId=gone.service\\nLoadState=not-found\\nActiveState=inactive\\n"
        "SubState=dead\\nUnitFileState=\\nNeedDaemonReload=no\\n'",
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@ask_shells
def test_packages_and_units_are_one_fork_each(shell: tuple[str, ...], tools: Path) -> None:
    packages = [Package("kubelet"), Package("half"), Package("removed"), Package("unheard-of")]
    units = [Unit("a.service"), Unit("gone.service")]
    facts = ask(shell, [*packages, *units], tools)
    assert facts[Package("kubelet")] == PackageFact("1.31.4-1.1", held=True)
    assert [facts[p] for p in packages[1:]] == [ABSENT] * 3
    assert (facts[Unit("a.service")].active, facts[Unit("a.service")].needs_reload) == ("active", True)
    assert facts[Unit("gone.service")] == ABSENT
    assert sorted((tools.parent / "calls").read_text().split()) == ["dpkg-query", "systemctl"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to count forks")
def test_the_number_of_forks_does_not_grow_with_the_number_of_questions(tmp_path: Path) -> None:
    assert forks(tmp_path, 5) == forks(tmp_path, 150)


def forks(folder: Path, number: int) -> int:
    probes: list[Probe[Any]] = []
    for n in range(number):
        path = folder / str(n)
        path.write_text("x")
        probes += [Stat(str(path)), Sha256(str(path))]
    trace = folder / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-o", str(trace), "dash", "-s"],
        input=compile_observe(probes, NONCE),
        check=True,
        capture_output=True,
    )
    return trace.read_text().count("execve(")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace to count programs")
def test_everything_that_a_worker_is_asked_starts_eight_programs(tmp_path: Path, tools: Path) -> None:
    (tmp_path / "link").symlink_to("somewhere")
    probes: list[Probe[Any]] = [System(), Swaps(), KernelFeature("tmpfs"), Package("kubelet"), Unit("a.service")]
    probes += [Stat(str(tmp_path / "link")), ReadLink(str(tmp_path / "link")), Sysctl("kernel.pid_max")]
    for n in range(6):
        (tmp_path / str(n)).write_text("x")
        probes += [Stat(str(tmp_path / str(n))), Sha256(str(tmp_path / str(n))), ReadText(str(tmp_path / str(n)))]
    probes.append(Command("usually nothing", "echo found", files=(f"{tmp_path}/no-such*",)))
    script = compile_observe(probes, NONCE).replace(b"PATH=", f"PATH={tools}:".encode(), 1)
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-e", "trace=execve", "-e", "status=successful", "-o", str(trace), "dash", "-s"]
    done = subprocess.run(strace, input=script, check=True, capture_output=True)
    assert parse_answers(done.stdout, probes, NONCE)[System()].clock > 1_600_000_000
    started = [line.split('"')[1].rpartition("/")[2] for line in trace.read_text().splitlines() if "execve(" in line]
    programs = ["dash", "stat", "sha256sum", "grep", "dpkg-query", "systemctl", "base64", "head"]
    assert sorted(started) == sorted(programs)


@ask_shells
def test_many_texts_of_different_limits_come_back_each_as_it_is(shell: tuple[str, ...], tmp_path: Path) -> None:
    """More than one `head` sends, some without a newline at the end, some that look like what stands between."""
    probes = [ReadText(str(tmp_path / f"{n} $(x)")) for n in range(20)]
    for n, probe in enumerate(probes):
        Path(probe.path).write_text(f"{n}" if n % 3 else f"==> {n} <==\n\n")
    small, gone = ReadText(str(tmp_path / "1 $(x)"), 1), ReadText(str(tmp_path / "gone"), 1)
    facts = ask(shell, [*probes, small, gone])
    assert [facts[p] for p in probes] == [Path(p.path).read_text() for p in probes]
    assert (facts[small], facts[gone]) == ("1", ABSENT)


@ask_shells
def test_a_text_that_cannot_be_read_does_not_cost_the_others(shell: tuple[str, ...], tmp_path: Path) -> None:
    unreadable = ReadText("/proc/self/mem")
    before, after = tmp_path / "before", tmp_path / "zafter"
    for path in (before, after):
        path.write_text(path.name)
    facts = ask(shell, [ReadText(str(before)), unreadable, ReadText(str(after))])
    assert facts[unreadable] == Unreadable("cannot be read")
    assert (facts[ReadText(str(before))], facts[ReadText(str(after))]) == ("before", "zafter")


@ask_shells
def test_a_command_about_files_starts_only_where_one_has_something_in_it(
    shell: tuple[str, ...], tmp_path: Path
) -> None:
    about = Command("about", "echo started; exit 3", files=(f"{tmp_path}/one", f"{tmp_path}/*.list"))
    assert ask(shell, [about])[about] == CommandFact(0, "")
    (tmp_path / "empty.list").touch()
    assert ask(shell, [about])[about] == CommandFact(0, "")
    (tmp_path / "full.list").write_text("x")
    assert ask(shell, [about])[about] == CommandFact(3, "started\n")


@ask_shells
def test_the_clock_is_that_of_the_moment_of_asking(shell: tuple[str, ...]) -> None:
    before = time.time()
    with_files, alone = (ask(shell, [System(), *more])[System()].clock for more in ([Stat("/etc")], []))
    for clock in (with_files, alone):
        assert before - 0.05 < clock < time.time() + 0.05


def test_the_forks_in_the_script_are_one_a_kind() -> None:
    many: list[Probe[Any]] = [kind(f"/f{n}") for n in range(150) for kind in (Stat, Sha256, ReadLink)]
    many += [Package(f"package{n}") for n in range(150)] + [Unit(f"u{n}.service") for n in range(150)]
    many += [Sysctl(f"a.b{n}") for n in range(150)]
    script = compile_observe(many, NONCE).decode()
    main = script[script.index("main() {") :]
    calls = [line.split()[0] for line in main.splitlines() if line.startswith("q_")]
    assert sorted(calls) == ["q_path", "q_pkg", "q_sha", "q_sysctl", "q_unit"]


@ask_shells
def test_a_script_cut_anywhere_does_nothing(shell: tuple[str, ...], tmp_path: Path) -> None:
    script = compile_observe([Stat("/etc"), Command("touch", f"touch {tmp_path}/done")], NONCE)
    for cut in range(0, len(script) - 20, 97):
        done = subprocess.run([*shell, "-s"], input=script[:cut], capture_output=True, check=False, timeout=10)
        assert b"BEGIN" not in done.stdout
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "probe",
    [
        Stat("relative"),
        Stat("/x\0y"),
        Command("c", "true", files=("/$(x)",)),
        Package("a; rm -rf /"),
        Unit("$(x).service"),
        Sysctl("../../etc/passwd"),
    ],
    ids=lambda p: type(p).__name__,
)
def test_names_that_no_host_could_have_are_refused(probe: Probe[Any]) -> None:
    with pytest.raises(ValueError, match="not a"):
        compile_observe([probe], NONCE)
