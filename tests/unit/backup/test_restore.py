"""A restore: who may have one, what it consists of, and that it is taken up where it was cut off."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from backup_site import CA, bundle_tar, open_demo, snapshot, status

from mlops_infra.app.backup import Steps
from mlops_infra.app.backup_bundle import BundleError
from mlops_infra.app.backup_key import ensure_key, identities, key_path, recipients
from mlops_infra.app.backup_recover import recover_site
from mlops_infra.app.backup_restore import RestorePlan, plan_restore, restore_phases
from mlops_infra.app.backup_restore_look import standing_of, when_settled
from mlops_infra.app.backup_stream import Encryptor
from mlops_infra.app.backup_upload import COMMIT_COMMAND, PIECE_COMMAND, upload
from mlops_infra.app.context import SiteContext
from mlops_infra.core import ABSENT, Facts, OperationState, Stat, StatFact
from mlops_infra.errors import InfraError, UnreachableError, UsageError
from mlops_infra.model.site import Site
from mlops_infra.operations.restore import STATE, Restore
from mlops_infra.testing import FakeTransport
from mlops_infra.testing.transport import FakeSession, local_shell
from mlops_infra.transport.errors import TimedOut
from mlops_infra.transport.session import Reply
from mlops_infra.transport.target import Target

WORKERS = "  workers:\n    - {name: w1, address: 10.0.0.11}\n    - {name: w2, address: 10.0.0.12}\n"
WHOLE = f"answered yes\nkubelet yes\nca {CA}\nkey yes\nmanifest yes\ndata yes\n"
BARE = "answered yes\n"
WORKER = "answered yes\nkubelet yes\n" + f"ca {CA}\n"
SHARED = {
    f"hosts/m2/etc/kubernetes/pki/{n}": n.encode()
    for n in ("ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt",
              "etcd/ca.key", "apiserver.crt", "etcd/server.key")
}  # fmt: skip
OWN = {
    "hosts/m2/etc/kubernetes/admin.conf": b"credentials of m2",
    "hosts/m2/etc/kubernetes/manifests/etcd.yaml": b"m2's",
    "hosts/m2/etc/kubernetes/audit/policy.yaml": b"kind: Policy",
    "hosts/m2/srv/encryption.yaml": b"kind: EncryptionConfiguration",
    "hosts/m2/etc/containerd/config.toml": b"version = 2",
}


class Hosts:
    """Hosts that answer to the look of a restore; a change of `said` changes them."""

    def __init__(self) -> None:
        self.said = {"m1": WHOLE, "m2": WHOLE, "m3": WHOLE, "lb-1": BARE, "w1": WORKER, "w2": WORKER}
        self.unreachable: dict[str, TimedOut] = {}

    def lives(self, *masters: str) -> None:
        for nth, name in enumerate(masters, start=1):
            self.said[name] += f"status {status(nth).decode()}\n"

    def transport(self) -> FakeTransport:
        def answers(name: str) -> Callable[[str, bytes], Reply]:
            def answer(command: str, stdin: bytes) -> Reply:
                del command
                return Reply(3, b"", "") if b"--keys-only" in stdin else Reply(0, self.said[name].encode(), "")

            return answer

        return FakeTransport({n: answers(n) for n in self.said}, unreachable=self.unreachable)  # type: ignore[arg-type]


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def context(tmp_path: Path) -> SiteContext:
    return open_demo(tmp_path, WORKERS)


def sealed(context: SiteContext, tar: bytes | None = None) -> Path:
    """A bundle on the disk, for the site's key."""
    ensure_key(context.site)
    path = context.site.config.parent / "bundle.tar.age"
    if tar is None:
        tar = bundle_tar({"etcd/snapshot.db": snapshot(), **SHARED, **OWN})
    with Encryptor(path, recipients(context.cluster, context.site)) as encryptor:
        encryptor.write(tar)
        encryptor.finish()
    return path


def planned(context: SiteContext, hosts: Hosts, tar: bytes | None = None, *, roll_back: bool = False) -> RestorePlan:
    path = sealed(context, tar)
    keys = identities([key_path(context.site)])
    steps = Steps(lambda step: None)
    return plan_restore(context, hosts.transport(), path, keys, steps, roll_back=roll_back, patience=0)


def test_destroyed_data_on_all_masters_is_a_restore_onto_the_same_hosts(context: SiteContext, hosts: Hosts) -> None:
    plan = planned(context, hosts)
    assert (plan.rebuilt, plan.rejoined, plan.resumes) == ((), (), False)
    assert not plan.loss.known and not plan.needs_preparing


def test_bare_hosts_are_rebuilt_and_join_again(context: SiteContext, hosts: Hosts) -> None:
    hosts.said = dict.fromkeys(hosts.said, BARE)
    plan = planned(context, hosts)
    assert plan.rebuilt == ("m1", "m2", "m3")
    assert plan.rejoined == ("w1", "w2")
    assert plan.bare_balancers == ("lb-1",)


def test_a_single_lost_member_is_no_restore_unless_a_way_back_is_meant(context: SiteContext, hosts: Hosts) -> None:
    hosts.lives("m1", "m2")
    with pytest.raises(InfraError) as refused:
        planned(context, hosts)
    assert "only m3 is lost" in refused.value.brief
    assert "masters replace m3" in refused.value.remedy
    assert planned(context, hosts, roll_back=True).rebuilt == ()


def test_members_that_have_no_leader_for_a_moment_are_not_taken_for_dead(hosts: Hosts) -> None:
    """A restore went ahead on a living etcd whose leader had just been lost, on a machine under load."""
    masters = ("m1", "m2", "m3")
    transport = hosts.transport()
    sessions = {name: transport.connect(Target(name, "10.0.0.1")) for name in masters}
    seen = {name: standing_of(name, hosts.said[name].encode()) for name in masters}
    pauses: list[float] = []

    def elected(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            hosts.lives("m1", "m2")

    settled = when_settled(masters, seen, sessions, patience=60, sleep=elected)
    assert len(pauses) == 2
    assert [n for n in masters if settled[n].member is not None] == ["m1", "m2"]


def test_dead_members_are_waited_for_once_and_those_without_data_not_at_all(hosts: Hosts) -> None:
    masters = ("m1", "m2", "m3")
    pauses: list[float] = []
    bare = {name: standing_of(name, BARE.encode()) for name in masters}
    assert when_settled(masters, bare, {}, patience=60, sleep=pauses.append) == bare
    assert pauses == []
    transport = hosts.transport()
    sessions = {name: transport.connect(Target(name, "10.0.0.1")) for name in masters}
    seen = {name: standing_of(name, hosts.said[name].encode()) for name in masters}
    assert when_settled(masters, seen, sessions, patience=0.05, sleep=pauses.append) == seen
    assert pauses, "they were asked again"


def test_members_that_began_anew_each_for_itself_are_no_majority(context: SiteContext, hosts: Hosts) -> None:
    for nth, name in enumerate(("m1", "m2"), start=1):
        hosts.said[name] += f"status {status(nth, nth, cluster=nth).decode()}\n"
    assert planned(context, hosts).rebuilt == ()


def test_a_whole_cluster_may_go_back(context: SiteContext, hosts: Hosts) -> None:
    hosts.lives("m1", "m2", "m3")
    assert planned(context, hosts).rebuilt == ()


def test_every_host_has_to_answer(context: SiteContext, hosts: Hosts) -> None:
    hosts.unreachable = {"m3": TimedOut("no answer in time")}
    with pytest.raises(UnreachableError) as refused:
        planned(context, hosts)
    assert "m3" in refused.value.brief
    assert refused.value.exit_code == 3


def test_another_cluster_on_a_host_is_left_alone(context: SiteContext, hosts: Hosts) -> None:
    hosts.said["w2"] = "answered yes\nkubelet yes\nca 0000\n"
    with pytest.raises(BundleError, match="w2: another cluster lives there"):
        planned(context, hosts)


def test_a_bundle_of_another_version_is_refused(context: SiteContext, hosts: Hosts) -> None:
    tar = bundle_tar(versions={"kubelet": "Kubernetes v1.30.8"})
    with pytest.raises(BundleError, match=r"is of Kubernetes 1\.30, and cluster.yaml says 1\.31"):
        planned(context, hosts, tar)


def test_a_damaged_bundle_is_refused_before_any_host_is_asked(context: SiteContext, hosts: Hosts) -> None:
    path = sealed(context)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    transport = hosts.transport()
    with pytest.raises(BundleError, match="damaged"):
        plan_restore(context, transport, path, identities([key_path(context.site)]), Steps(lambda step: None))
    assert not transport.sessions


def test_a_full_disk_is_seen_before_anything_is_stopped(context: SiteContext, hosts: Hosts) -> None:
    hosts.said["m2"] += "free:/var/lib/etcd 1000\n"
    with pytest.raises(InfraError) as refused:
        planned(context, hosts)
    assert refused.value.host == "m2"
    assert "1000 KiB free" in refused.value.details


def test_a_restore_that_was_cut_off_goes_on_with_its_token(context: SiteContext, hosts: Hosts) -> None:
    digest = hashlib.sha256(sealed(context).read_bytes()).hexdigest()
    hosts.said["m1"] = (
        f"answered yes\nkubelet yes\nca {CA}\nkey yes\nheld yes\nrestore 20260102T000000Z-t {digest} finished\n"
    )
    hosts.said["m2"] = (
        f"answered yes\nkubelet yes\nca {CA}\nkey yes\nheld yes\nrestore 20260102T000000Z-t {digest} begun\n"
    )
    path, keys = context.site.config.parent / "bundle.tar.age", identities([key_path(context.site)])
    plan = plan_restore(context, hosts.transport(), path, keys, Steps(lambda step: None))
    assert (plan.token, plan.resumes) == ("20260102T000000Z-t", True)
    hosts.said["m2"] = hosts.said["m2"].replace("begun", "finished")
    anew = plan_restore(context, hosts.transport(), path, keys, Steps(lambda step: None))
    assert anew.token != "20260102T000000Z-t" and not anew.resumes


def test_of_two_that_were_cut_off_only_the_last_goes_on(context: SiteContext, hosts: Hosts) -> None:
    digest = hashlib.sha256(sealed(context).read_bytes()).hexdigest()
    hosts.said["m1"] += f"restore 20260102T000000Z-t {digest} begun\nrestore 20260103T000000Z-u another begun\n"
    hosts.said["m2"] += f"restore 20260102T000000Z-t {digest} begun\n"
    path, keys = context.site.config.parent / "bundle.tar.age", identities([key_path(context.site)])
    plan = plan_restore(context, hosts.transport(), path, keys, Steps(lambda step: None))
    assert not plan.resumes
    hosts.said["m1"] = hosts.said["m1"].replace("another begun", "another finished")
    assert plan_restore(context, hosts.transport(), path, keys, Steps(lambda step: None)).resumes


def test_a_bare_master_gets_what_all_masters_share_and_nothing_of_one_host(context: SiteContext, hosts: Hosts) -> None:
    from mlops_infra.app.backup_restore import _identity_files

    hosts.said = dict.fromkeys(hosts.said, BARE)
    plan = planned(context, hosts)
    files = _identity_files(plan, identities([key_path(context.site)]))
    assert set(files) == {
        *(f"/etc/kubernetes/pki/{n}" for n in ("ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt",
                                              "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key")),
        "/etc/kubernetes/audit/policy.yaml", "/srv/encryption.yaml",
    }  # fmt: skip


def test_the_masters_wait_for_one_another_between_the_phases(context: SiteContext, hosts: Hosts) -> None:
    phases = {p.name: p for p in restore_phases(context, planned(context, hosts), {})}
    masters = {"m1", "m2", "m3"}
    for name, before in (
        ("restore-data", "restore-stop"),
        ("restore-etcd", "restore-data"),
        ("restore-api", "restore-etcd"),
    ):
        for step in phases[name].steps:
            assert {(n.phase, n.host) for n in step.needs} == {(before, m) for m in masters}
    for step in phases["restore-finish"].steps:
        assert {str(n.host) for n in step.needs if n.phase == "restore-nodes"} == {"w1", "w2"}
    for step in phases["restore-nodes"].steps:
        assert [o.id for o in step.operations] == ["restore-volumes", "restore-kubelet"]


def test_a_mark_on_the_host_says_that_a_step_is_done(context: SiteContext, hosts: Hosts) -> None:
    plan = planned(context, hosts)
    stop = restore_phases(context, plan, {})[0].steps[0].operations[0]
    mark = Stat(f"{STATE}/{plan.token}/stopped")
    assert stop.standing(Facts({mark: ABSENT})).state is OperationState.PENDING
    there = Facts({mark: StatFact("file", 0o600, "root", "root", 0)})
    assert stop.standing(there).state is OperationState.DONE
    assert stop.standing(Facts()).state is OperationState.UNKNOWN


def test_whatever_is_restored_later_comes_out_higher() -> None:
    """Snapshots of a cluster that was never restored, and of one that was, in any order."""

    def after(day: int, revision: int) -> int:
        return revision + Restore(f"2026010{day}T000000Z-abc", (), "3.5.15", "", revision).bump

    first = after(1, 5_000)
    second = after(2, first + 40_000)
    third = after(3, 5_000)
    assert second - first == third - second == 86_400_000
    assert first > 1_000_000_000


def test_a_clock_that_is_behind_the_snapshot_still_makes_a_jump() -> None:
    assert Restore("20200101T000001Z-abc", (), "3.5.15", "", 5_000).bump == 1_000_000_000


def test_no_secret_of_the_bundle_is_in_a_script(context: SiteContext, hosts: Hosts) -> None:
    hosts.said = dict.fromkeys(hosts.said, BARE)
    plan = planned(context, hosts)
    phases = restore_phases(context, plan, {"/etc/kubernetes/pki/ca.key": b"the very secret key"})
    scripts = [o.script({}) for p in phases if p.name != "restore-nodes" for s in p.steps for o in s.operations]
    assert not any("very secret" in script.text for script in scripts)
    files = [f for script in scripts for f in script.files if f.path.endswith("ca.key")]
    assert len(files) == 3
    assert all(f.sensitive and f.mode == 0o600 for f in files)


def test_the_snapshot_arrives_whole_on_every_master_and_marks_the_beginning(
    context: SiteContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_infra.app.backup_upload.PIECE", 50_000)
    path = sealed(context)
    state = tmp_path / "state"
    (state / "never-begun").mkdir(parents=True)
    (state / "manifests").mkdir()
    sessions = {"m1": FakeSession("m1", local_shell())}
    digest = upload(
        path, identities([key_path(context.site)]), sessions,  # type: ignore[arg-type]
        directory=f"{state}/t-1", bundle="b1",
    )  # fmt: skip
    assert (state / "t-1/snapshot.db").read_bytes() == snapshot()
    assert digest == hashlib.sha256(snapshot()).hexdigest()
    assert (state / "t-1/bundle").read_text() == "b1\n"
    assert sorted(p.name for p in state.iterdir()) == ["manifests", "t-1"]
    assert sessions["m1"].channels > 3


def test_a_piece_sent_twice_is_no_harm_and_a_gap_is_refused(tmp_path: Path) -> None:
    def send(offset: int, data: bytes) -> int:
        stdin = f"{tmp_path}/t {offset}\n".encode() + data
        return subprocess.run(["sh", "-c", PIECE_COMMAND], input=stdin, check=False).returncode

    assert send(0, b"first") == 0
    assert send(5, b"second") == 0
    assert send(5, b"again!") == 0
    assert (tmp_path / "t/snapshot.part").read_bytes() == b"firstagain!"
    assert send(50, b"x") != 0
    commit = f"{tmp_path}/t {'0' * 64} b\n".encode()
    assert subprocess.run(["sh", "-c", COMMIT_COMMAND], input=commit, check=False).returncode == 3
    assert not (tmp_path / "t/bundle").exists()


def test_a_lost_workstation_comes_back_from_bundle_and_key(context: SiteContext, tmp_path: Path) -> None:
    files = {
        "etcd/snapshot.db": snapshot(), "cluster/cluster.yaml": context.site.config.read_bytes(),
        "cluster/secrets/lb-stats": b"pass\n", "cluster/known_hosts": b"m1 ssh-ed25519 AAAA\n",
        "cluster/files/keys/mirror.asc": b"-----BEGIN", "cluster/overlay.yaml": b"lab: only\n",
    }  # fmt: skip
    path = sealed(context, bundle_tar(files))
    key = key_path(context.site)
    new = Site(tmp_path / "elsewhere/cluster.yaml")
    new.config.parent.mkdir()
    done = recover_site(path, [key], identities([key]), new)
    assert new.config.read_bytes() == context.site.config.read_bytes()
    assert (new.secrets / "lb-stats").read_text() == "pass\n"
    assert (new.secrets / "lb-stats").stat().st_mode & 0o777 == 0o600
    assert new.known_hosts.read_text().startswith("m1 ")
    assert (new.config.parent / "keys/mirror.asc").exists()
    assert not new.overlay.exists()
    assert key_path(new).read_text() == key.read_text()
    assert len(done.files) == 5
    with pytest.raises(UsageError, match="is there"):
        recover_site(path, [key], identities([key]), new)


def test_names_that_lead_out_of_the_directory_are_left_in_the_bundle(context: SiteContext, tmp_path: Path) -> None:
    files = {
        "etcd/snapshot.db": snapshot(), "cluster/cluster.yaml": context.site.config.read_bytes(),
        "cluster/files/../../evil": b"x",
    }  # fmt: skip
    path = sealed(context, bundle_tar(files))
    new = Site(tmp_path / "a/b/cluster.yaml")
    new.config.parent.mkdir(parents=True)
    recover_site(path, [], identities([key_path(context.site)]), new)
    assert not (tmp_path / "a/evil").exists() and not (tmp_path / "evil").exists()
