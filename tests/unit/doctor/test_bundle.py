"""The bundle: whatever still answers, bounded, without secrets, and readable by itself."""

from __future__ import annotations

import re
import stat
import tarfile
import threading
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sick import STOPPED, Platform, cluster_of

from mlops_infra.app import doctor_bundle as use
from mlops_infra.core import Secret
from mlops_infra.doctor import probes as p
from mlops_infra.doctor.scrub import Scrubber
from mlops_infra.errors import InfraError
from mlops_infra.model.site import Site
from mlops_infra.testing.transport import FakeTransport
from mlops_infra.transport import Reply, Target
from mlops_infra.transport.errors import Refused
from mlops_infra.ui.doctor_page import index_page

PLANTED = "planted0secret1value2"
NAMES = ("lb1", "m1", "m2", "m3", "w1", "w2")


def context(tmp_path: Path, **more: Any) -> Any:
    site = Site(tmp_path / "cluster.yaml")
    site.config.write_text(f"name: c\nssh: {{user: u}}\nlb: {{stats: {{password: {PLANTED}}}}}\n")
    return SimpleNamespace(cluster=cluster_of(**more), site=site, warnings=())


def targets(*names: str) -> dict[str, Target]:
    return {name: Target(name, "192.0.2.1") for name in names}


def says(*sections: tuple[str, str], end: bool = True) -> Any:
    """A host that answers with these sections, under the mark that the script it is given names."""

    def answer(command: str, stdin: bytes) -> Reply:
        mark = re.match(rb"mark=(\S+)", stdin)[1].decode().strip("'")  # type: ignore[index]
        if b"get --raw /readyz" in stdin:
            return Reply(7, b"", "")
        text = "".join(f"\n{mark} {name}\n{body}\n" for name, body in sections) + (f"\n{mark} end\n" if end else "")
        return Reply(0, text.encode(), "")

    return answer


def collected(tmp_path: Path, transport: FakeTransport, **bounds: Any) -> use.Collected:
    return use.collect(context(tmp_path), transport, targets(*NAMES), use.Bounds(**bounds), Scrubber())


def test_hosts_that_are_gone_and_an_api_that_is_down_are_named_and_the_rest_is_there(tmp_path: Path) -> None:
    transport = FakeTransport(
        default=says(("system", "Linux"), ("pods/kube-system-etcd-m1-etcd-0.log", f"password={PLANTED}")),
        unreachable={"m2": Refused("m2 refuses the connection")},
    )
    found = collected(tmp_path, transport)
    assert found.missing == {"hosts/m2": "m2 refuses the connection", "cluster": "no API server is ready"}
    assert found.files["hosts/m1/system.txt"] == "Linux\n"
    assert found.files["hosts/w2/pods/kube-system-etcd-m1-etcd-0.log.txt"] == "password=********\n"
    assert found.cut == []


def test_with_every_host_gone_there_is_still_a_bundle(tmp_path: Path) -> None:
    transport = FakeTransport(unreachable={name: Refused("gone") for name in NAMES})
    found = collected(tmp_path, transport)
    assert found.files == {} and len(found.missing) == 7
    found.files |= use.local_files(context(tmp_path), Scrubber())
    assert use.archive(tmp_path / "x.tar.gz", found, {"index.html": index_page(found, None)}) > 0


def test_an_answer_that_was_cut_is_said_to_be(tmp_path: Path) -> None:
    found = collected(tmp_path, FakeTransport(default=says(("system", "Linux"), end=False)))
    assert "hosts/m1" in found.cut
    assert found.files["hosts/m1/system.txt"] == "Linux\n"


def test_a_host_that_hangs_is_left_behind_in_time(tmp_path: Path) -> None:
    release = threading.Event()

    def hangs(command: str, stdin: bytes) -> Reply:
        release.wait(30)
        return Reply(0, b"", "")

    begun = time.monotonic()
    found = collected(tmp_path, FakeTransport({"w1": hangs}, default=says(("system", "Linux"))), seconds=2.0)
    release.set()
    assert time.monotonic() - begun < 10
    assert found.missing["hosts/w1"] == "nothing came within 2 s"
    assert "hosts/w2/system.txt" in found.files


def test_each_host_is_told_how_much_it_may_say(tmp_path: Path) -> None:
    transport = FakeTransport(default=says())
    collected(tmp_path, transport, size=700_000)
    ((_, script),) = transport.sessions["w1"][0].calls
    assert script.decode().endswith("| head -c 100000\n")


@pytest.mark.parametrize("kind", ["etcd-log", "kube-apiserver-log", "kubelet-log", "any-other-log"])
@pytest.mark.parametrize("section", ["doctor", "doctor-control-plane"])
def test_what_the_doctor_quotes_of_a_log_is_not_in_the_archive(tmp_path: Path, kind: str, section: str) -> None:
    # A Secret's value under a name of its own: only the lines before it tell what it is, and these have a key before.
    quoted = f"{kind}\tkind: Secret\n{kind}\tdata:\n{kind}\t  odd: {PLANTED}\n"
    body = f"ready\tok\n{quoted}etcd\tnot running\nlast\tetcd-log\tis a word\n{kind}\t{PLANTED}"
    found = collected(tmp_path, FakeTransport(default=says((section, body), ("system", f"{kind}\tLinux"))))
    path = tmp_path / "x.tar.gz"
    use.archive(path, found, {})
    with tarfile.open(path) as tar:
        texts = {one.name: tar.extractfile(one).read().decode() for one in tar.getmembers()}  # type: ignore[union-attr]
    assert PLANTED not in "".join(texts.values())
    assert texts[f"x/hosts/m1/{section}.txt"] == "ready\tok\netcd\tnot running\nlast\tetcd-log\tis a word\n"
    assert texts["x/hosts/m1/system.txt"] == f"{kind}\tLinux\n", "only the doctor's answers have such keys"


def test_a_host_cannot_choose_a_place_outside_of_its_own(tmp_path: Path) -> None:
    evil = says(("../../../etc/passwd", "x"), ("/etc/shadow", "y"), ("..", "z"), ("a\x00b", "w"))
    found = collected(tmp_path, FakeTransport(default=evil))
    mine = [name for name in found.files if name.startswith("hosts/m1/")]
    assert sorted(mine) == [
        "hosts/m1/a-b.txt",
        "hosts/m1/etc/passwd.txt",
        "hosts/m1/etc/shadow.txt",
        "hosts/m1/unnamed.txt",
    ]
    assert not any(".." in name for name in found.files)


def test_secrets_that_this_machine_knows_are_masked_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_WORD", "of-the-environment")
    here = context(tmp_path, ssh={"user": "u", "sudo_password": {"env": "SUDO_WORD"}})
    here.site.secrets.mkdir(parents=True)
    (here.site.secrets / "lb-stats").write_text("generated-and-kept\n")
    (here.site.directory / "backup-key.txt").write_text("# public key: age1public\nAGE-SECRET-KEY-1PRIVATEPRIVATE\n")
    here.site.kubeconfig.write_text("server: https://10.0.0.20:6443\nclient-key-data: S0VZREFUQUtFWURBVEE=\n")
    known = use.known_secrets(here)
    assert set(known) >= {
        "of-the-environment",
        "generated-and-kept",
        "AGE-SECRET-KEY-1PRIVATEPRIVATE",
        "S0VZREFUQUtFWURBVEE=",
    }
    assert not any("10.0.0.20" in one or "age1public" in one for one in known)


def test_local_files_are_scrubbed_and_a_long_record_begins_with_a_whole_line(tmp_path: Path) -> None:
    here = context(tmp_path)
    run = here.site.runs / "20261123T120000Z-ab"
    run.mkdir(parents=True)
    (run / "output.log").write_text(f"first token={PLANTED}" + "x" * 150 + "\n" + "line\n" * 60_000)
    (run / "state.bin").write_bytes(b"\0")
    found = use.local_files(here, Scrubber())
    assert PLANTED not in "".join(found.values())
    assert "********" in found["local/cluster.yaml.txt"]
    kept = found["local/runs/20261123T120000Z-ab/output.log.txt"]
    assert kept.startswith("line\n") and len(kept) <= 200_000
    assert not any("state" in name for name in found)


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_first_page_leads_to_every_file_and_needs_nothing_from_elsewhere(tmp_path: Path, sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    sick.say("w2", p.MACHINE, "failed", "<script>.service")
    found = use.Collected("c", datetime(2026, 11, 23, 12, tzinfo=UTC))
    found.files = {"hosts/m1/system.txt": "Linux\n", "cluster/nodes.txt": "m1\n"}
    found.missing, found.cut = {"hosts/m2": "m2 refuses"}, ["hosts/m3"]
    page = _Page(index_page(found, sick.diagnosis(), listed=["doctor.txt"]))
    assert sorted(page.links) == ["cluster/nodes.txt", "doctor.txt", "hosts/m1/system.txt"]
    assert not page.tags & {"script", "link", "img", "iframe"}
    for said in ("w1: kubelet is stopped", "m2 refuses", "not whole", "<script>.service", "systemctl start kubelet"):
        assert said in page.text


def test_the_archive_is_for_its_owner_alone_and_nothing_is_left_of_one_that_failed(tmp_path: Path) -> None:
    found = use.Collected("c", datetime(2026, 11, 23, 12, tzinfo=UTC), {"hosts/m1/system.txt": "Linux\n"})
    path = tmp_path / "c-support.tar.gz"
    use.archive(path, found, {"index.html": "x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["c-support/index.html", "c-support/hosts/m1/system.txt"]
    with pytest.raises(InfraError, match="cannot be written"):
        use.archive(tmp_path / "none" / "x.tar.gz", found, {})
    assert [f.name for f in tmp_path.iterdir()] == ["c-support.tar.gz"]


def test_the_password_is_asked_once_for_two_looks() -> None:
    asked: list[int] = []

    def ask() -> Secret:
        asked.append(1)
        time.sleep(0.05)
        return Secret("x")

    once = use.asked_once(ask)
    threads = [threading.Thread(target=once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [1]


def test_a_look_that_does_not_end_is_not_waited_for() -> None:
    release = threading.Event()
    wait = use.in_background(lambda: release.wait(30))
    assert wait(0.05) is None
    release.set()
    assert use.in_background(lambda: 7)(5) == 7
