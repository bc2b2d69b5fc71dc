"""The backup timer's script on a master with stand-ins: who has the turn, what is kept, copied and told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.operations.packed import tar_of
from mlops_infra.phases.backup import DIRECTORY, SCRIPT
from mlops_infra.render import render

pytestmark = needs_root

SETTINGS = "/etc/mlops-infra/backup"

# etcd's keys are files in /tmp/kv; a transaction succeeds where the turn is free.
STANDINS = rf"""
set -e
mkdir -p /tmp/kv /etc/kubernetes/manifests {SETTINGS}/places /usr/local/lib/mlops-infra /var/lib/mlops-infra
: >/etc/kubernetes/manifests/etcd.yaml
cat >/usr/local/bin/ctr <<'END'
#!/bin/sh
# A stand-in for containerd with one etcd in it.
shift 2
case "$1 $2" in
'tasks ls') echo 'TASK PID STATUS'; [ -e /tmp/no-etcd ] || echo 'abc 7 RUNNING' ;;
'containers ls') echo abc ;;
'tasks exec')
  shift 5
  case "$*" in
  *'lease grant'*) [ ! -e /tmp/no-quorum ] || exit 1; echo 'lease 1a2b granted with TTL(900s)' ;;
  *'lease revoke'*) rm -f /tmp/kv/turn; echo revoked >>/tmp/log ;;
  *txn*)
    grep -q 'create(' || exit 1
    if [ -e /tmp/kv/turn ]; then echo FAILURE; else echo m1 >/tmp/kv/turn; echo SUCCESS; fi ;;
  *'get --print-value-only'*) for key; do :; done; [ ! -e "/tmp/kv/${{key##*/}}" ] || cat "/tmp/kv/${{key##*/}}" ;;
  *put*) for value; do :; done; echo "$value" >/tmp/kv/last ;;
  esac ;;
esac
END
cat >/usr/local/bin/age <<'END'
#!/bin/sh
# A stand-in for age: a header, and what it was given.
[ ! -e /tmp/full ] || exit 1
{{ echo age-encryption.org/v1; cat; }} >"$4"
END
cat >{SETTINGS}/snapshot.sh <<'END'
echo '@ snapshot'
[ ! -e /tmp/bad ] || {{ echo '! bad-snapshot its sha256 differs'; exit 3; }}
rm -rf /tmp/tree
cp -r "$1/tree" /tmp/tree
echo '>'
printf 'the tar'
rm -rf "$1"
[ ! -e /tmp/cut ] || exit 1
END
echo age1xyz >{SETTINGS}/recipients
chmod 755 /usr/local/bin/*
"""


@pytest.fixture
def master(sandbox: Sandbox) -> Sandbox:
    sandbox.run(STANDINS)
    script = render(
        "backup/scheduled.sh.j2", settings=SETTINGS, directory=DIRECTORY, metrics="/var/lib/mlops-infra/metrics",
        node="m1", cluster="demo", window=120, keep=3, keep_days=30,
    )  # fmt: skip
    assert sandbox.exchange(f"cat >{SCRIPT}", script.encode()).rc == 0
    return sandbox


def backup(master: Sandbox, *words: str) -> tuple[int, str]:
    reply = master.exchange(f"sh {SCRIPT} {' '.join(words)} 2>&1")
    return reply.rc, reply.stdout.decode()


def bundles(master: Sandbox) -> list[str]:
    return master.run(f"ls {DIRECTORY} 2>/dev/null || :").split()


def metric(master: Sandbox, name: str) -> str:
    text = master.run(f"cat /var/lib/mlops-infra/metrics/backup-{name}.prom 2>/dev/null || :")
    return next((ln.split()[1] for ln in text.splitlines() if not ln.startswith("#")), "")


def test_a_bundle_is_kept_encrypted_and_its_age_and_size_are_told(master: Sandbox) -> None:
    rc, said = backup(master)
    assert rc == 0, said
    (name,) = bundles(master)
    assert name.startswith("demo-") and name.endswith("Z.tar.age")
    assert master.run(f"cat {DIRECTORY}/{name}") == "age-encryption.org/v1\nthe tar"
    assert master.run(f"stat -c %a {DIRECTORY}/{name}") == "600\n"
    assert int(metric(master, "last_success_timestamp_seconds")) > 1_700_000_000
    assert int(metric(master, "size_bytes")) == len("age-encryption.org/v1\nthe tar")
    assert master.run("cat /tmp/kv/last").split()[1] == "m1"
    assert master.run("ls /tmp/kv") == "last\n", "the turn is given back"
    assert master.run("ls -d /var/lib/mlops-infra/backup.* 2>/dev/null || :") == ""


def test_what_belongs_to_the_workstation_goes_in_and_its_lack_is_told(master: Sandbox) -> None:
    files = {
        "cluster.yaml": b"name: demo",
        "known_hosts": b"m1 k",
        "secrets/lb-stats": b"p",
        "files/rules/own.yaml": b"r",
    }
    assert master.exchange(f"cat >{SETTINGS}/site.tar", tar_of(files)).rc == 0
    assert backup(master)[0] == 0
    found = master.run("cd /tmp/tree/cluster && find . -type f | sort").split()
    assert found == ["./cluster.yaml", "./files/rules/own.yaml", "./known_hosts", "./secrets/lb-stats"]
    assert master.run("cat /tmp/tree/cluster/cluster.yaml") == "name: demo"
    master.run(f"rm {SETTINGS}/site.tar; sleep 1")
    rc, said = backup(master, "--now")
    assert rc == 0 and "could not be put in" in said
    assert len(bundles(master)) == 2


def test_what_another_master_has_just_done_is_not_done_again(master: Sandbox) -> None:
    master.run('echo "$(date +%s) m2" >/tmp/kv/last')
    rc, said = backup(master)
    assert rc == 0 and "m2 has done it" in said
    assert bundles(master) == []
    assert backup(master, "--now")[0] == 0
    assert len(bundles(master)) == 1


def test_the_turn_of_a_master_that_is_gone_passes_on(master: Sandbox) -> None:
    master.run(
        "echo m2 >/tmp/kv/turn; printf '#!/bin/sh\\nrm -f /tmp/kv/turn\\n' >/usr/local/bin/sleep; "
        "chmod 755 /usr/local/bin/sleep"
    )
    rc, said = backup(master)
    assert rc == 0, said
    assert len(bundles(master)) == 1


def test_without_a_majority_this_members_state_is_kept_all_the_same(master: Sandbox) -> None:
    master.run(": >/tmp/no-quorum")
    rc, said = backup(master)
    assert rc == 0 and "no majority" in said
    assert len(bundles(master)) == 1


@pytest.mark.parametrize(
    ("fault", "words"), [("bad", "sha256 differs"), ("cut", "ended early"), ("full", "no snapshot was kept")]
)
def test_what_is_not_whole_is_thrown_away_and_told_as_a_failure(master: Sandbox, fault: str, words: str) -> None:
    backup(master, "--now")
    before, good = bundles(master), metric(master, "last_success_timestamp_seconds")
    master.run(f": >/tmp/{fault}")
    rc, said = backup(master, "--now")
    assert rc == 1 and words in said
    assert bundles(master) == before
    assert metric(master, "last_success_timestamp_seconds") == good
    assert int(metric(master, "last_failure_timestamp_seconds")) > 0
    assert "turn" not in master.run("ls /tmp/kv")
    assert master.run(f"ls -a {DIRECTORY} | grep part || :") == ""


def dated(days: int, cluster: str = "demo") -> str:
    """The name of a bundle that was made so many days ago."""
    return f"{cluster}-{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}.tar.age"


def test_old_ones_go_only_after_a_new_one_is_whole_and_others_files_stay(master: Sandbox) -> None:
    old = [dated(1), dated(2), dated(3), dated(60)]
    others = {dated(60, "other"), dated(60, "demo-2"), "note"}
    master.run(f"mkdir -p {DIRECTORY}; cd {DIRECTORY}; touch {' '.join([*old, *others])}; : >/tmp/bad")
    assert backup(master)[0] == 1
    assert len(bundles(master)) == 7
    master.run("rm /tmp/bad")
    assert backup(master)[0] == 0
    left = set(bundles(master))
    assert left & set(old) == set(old[:2]), "three with the new one"
    assert others < left


@pytest.mark.parametrize("where", [DIRECTORY, "/tmp/vault"])
def test_what_is_too_old_goes_although_it_is_one_of_few_here_and_there(master: Sandbox, where: str) -> None:
    vault(master)
    others = {dated(60, "demo-2"), "note"}
    master.run(f"mkdir -p {where}; cd {where}; touch {dated(29)} {dated(31)} {' '.join(others)}")
    rc, said = backup(master)
    assert rc == 0, said
    left = set(master.run(f"ls {where}").split())
    assert [n[:5] for n in left - others] == ["demo-", "demo-"]
    assert others < left and not any(n.startswith(dated(31)[:13]) for n in left - others)


def test_a_clock_that_went_wrong_takes_neither_the_newest_nor_the_one_just_made(master: Sandbox) -> None:
    vault(master)
    late = [dated(-days) for days in (5, 4, 3, 2)]
    master.run(f"mkdir -p {DIRECTORY}; for d in {DIRECTORY} /tmp/vault; do cd $d; touch {' '.join(late)}; done")
    rc, said = backup(master)
    assert rc == 0, said
    left = bundles(master)
    assert left == master.run("ls /tmp/vault").split()
    assert set(left) - set(late) and late[0] in left and len(left) == 3


def vault(master: Sandbox) -> None:
    """A place of SSH, with a stand-in: ssh runs the command here."""
    master.run(f"mkdir -p {SETTINGS}/places/vault /tmp/vault")
    master.run(
        "printf 'kind=ssh\\naddress=10.0.0.9\\nport=22\\nuser=keeper\\nthere=/tmp/vault\\n' "
        f">{SETTINGS}/places/vault/settings"
    )
    master.run("printf '#!/bin/sh\\nfor last; do :; done\\nexec sh -c \"$last\"\\n' >/usr/local/bin/ssh")
    master.run("chmod 755 /usr/local/bin/ssh")


def test_copies_go_to_every_place_and_one_that_fails_keeps_no_other_from_it(master: Sandbox) -> None:
    master.run(f"mkdir -p {SETTINGS}/places/cloud")
    master.run(f"printf 'kind=s3\\nregion=eu-1\\nurl=https://s3.test/b/site/\\n' >{SETTINGS}/places/cloud/settings")
    vault(master)
    # A stand-in: curl notes its words.
    master.run("printf '#!/bin/sh\\necho \"$*\" >>/tmp/curl.log\\n[ ! -e /tmp/no-cloud ]\\n' >/usr/local/bin/curl")
    master.run("chmod 755 /usr/local/bin/*; echo 'user = \"AK:hush\"' >" + f"{SETTINGS}/places/cloud/curl")
    rc, said = backup(master)
    assert rc == 0, said
    (name,) = bundles(master)
    assert master.run(f"cmp /tmp/vault/{name} {DIRECTORY}/{name} && ls -A /tmp/vault") == f"{name}\n"
    words = master.run("cat /tmp/curl.log")
    assert f"-T {DIRECTORY}/{name} https://s3.test/b/site/{name}" in words
    assert "--aws-sigv4 aws:amz:eu-1:s3" in words and "hush" not in words
    assert metric(master, "missing_copies") == "0"
    master.run(": >/tmp/no-cloud; sleep 1")
    rc, said = backup(master, "--now")
    assert rc == 1 and "not copied to: cloud" in said
    assert len(bundles(master)) == 2 and master.run("ls /tmp/vault | wc -l").strip() == "2"
    assert metric(master, "missing_copies") == "1"
