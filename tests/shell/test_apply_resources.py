"""Every resource: what it proposes, applied for real, leaves it nothing to propose; from empty, wrong and right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.core import Change, Facts, Kind, Resource
from mlops_infra.resources import (
    ApiObjects,
    AptRepository,
    Archive,
    AuthorizedKey,
    Binary,
    Directory,
    File,
    GuardedCommand,
    HostsEntries,
    KernelModules,
    Missing,
    SwapOff,
    Symlink,
    Sysctls,
    UnitState,
    User,
)

pytestmark = needs_root

SYSTEMCTL = """\
cat >/usr/bin/systemctl <<'END'
#!/bin/sh
# A stand-in for systemctl: a unit is a directory of files with the names of its properties.
verb=''
names=''
for a; do case $a in -*) ;; *) if [ -z "$verb" ]; then verb=$a; else names="$names $a"; fi ;; esac; done
echo "$verb$names" >>/tmp/systemctl.log
u=/tmp/units
set_() { mkdir -p "$u/$1"; echo "$3" >"$u/$1/$2"; }
get() { if [ -e "$u/$1/$2" ]; then cat "$u/$1/$2"; else echo "$3"; fi; }
case $verb in
  daemon-reload) for n in "$u"/*; do [ ! -d "$n" ] || echo no >"$n/NeedDaemonReload"; done ;;
  enable) for n in $names; do set_ $n UnitFileState enabled; done ;;
  disable) for n in $names; do set_ $n UnitFileState disabled; done ;;
  mask) for n in $names; do set_ $n UnitFileState masked; set_ $n LoadState masked; done ;;
  unmask) for n in $names; do set_ $n UnitFileState disabled; set_ $n LoadState loaded; done ;;
  start|restart) for n in $names; do set_ $n ActiveState active; set_ $n SubState running; done ;;
  stop) for n in $names; do set_ $n ActiveState inactive; set_ $n SubState dead; done ;;
  is-failed) exit 1 ;;
  show) for n in $names; do
      case $n in *.*) ;; *) continue ;; esac
      [ -d "$u/$n" ] && load=loaded || load=not-found
      echo "Id=$n"; echo "LoadState=$(get $n LoadState $load)"
      echo "ActiveState=$(get $n ActiveState inactive)"; echo "SubState=$(get $n SubState dead)"
      echo "UnitFileState=$(get $n UnitFileState '')"; echo "NeedDaemonReload=$(get $n NeedDaemonReload no)"; echo
    done ;;
esac
exit 0
END
chmod 755 /usr/bin/systemctl
"""


def proves(sandbox: Sandbox, resource: Resource) -> Change:
    """One convergence that changes something, and one that finds nothing to do."""
    change = sandbox.converge(resource)
    assert change is not None
    assert sandbox.diff(resource) is None
    return change


WRONG = {
    "nothing there": ":",
    "other content": "echo other >/etc/thing",
    "other mode": "printf 'right\\n' >/etc/thing; chmod 600 /etc/thing",
    "other owner": "printf 'right\\n' >/etc/thing; chown daemon:adm /etc/thing; chmod 644 /etc/thing",
    "a link": "ln -s /etc/passwd /etc/thing",
    "a dangling link": "ln -s /nowhere /etc/thing",
    "a directory": "mkdir /etc/thing",
}


@pytest.mark.parametrize("before", WRONG.values(), ids=WRONG)
def test_a_file_is_right_whatever_was_there(sandbox: Sandbox, before: str) -> None:
    sandbox.run(before)
    passwd = sandbox.run("sha256sum /etc/passwd")
    proves(sandbox, File("/etc/thing", "right\n"))
    assert sandbox.run("cat /etc/thing; stat -c '%a %U:%G' /etc/thing") == "right\n644 root:root\n"
    assert sandbox.run("sha256sum /etc/passwd") == passwd


def test_a_full_directory_is_never_removed_for_a_file(sandbox: Sandbox) -> None:
    sandbox.run("mkdir /etc/thing && touch /etc/thing/precious")
    change = sandbox.diff(File("/etc/thing", "right\n"))
    assert change is not None and change.kind is Kind.REPLACE
    assert not sandbox.send(sandbox.batch(change)).ok
    sandbox.run("[ -e /etc/thing/precious ]")


@pytest.mark.parametrize("before", [":", "touch /srv/d", "mkdir -m 700 /srv/d", "mkdir /srv/d; chown daemon /srv/d"])
def test_a_directory_is_right_whatever_was_there(sandbox: Sandbox, before: str) -> None:
    sandbox.run(before)
    proves(sandbox, Directory("/srv/d", 0o750, "root", "adm"))
    assert sandbox.run("stat -c '%F %a %U:%G' /srv/d") == "directory 750 root:adm\n"


@pytest.mark.parametrize("before", [":", "touch /etc/thing", "ln -s /old /etc/thing"])
def test_a_symlink_is_right_whatever_was_there(sandbox: Sandbox, before: str) -> None:
    sandbox.run(before)
    proves(sandbox, Symlink("/etc/thing", "../some where"))
    assert sandbox.run("readlink /etc/thing") == "../some where\n"


def test_what_must_not_be_there_is_taken_away(sandbox: Sandbox) -> None:
    assert sandbox.converge(Missing("/etc/thing")) is None
    sandbox.run("ln -s /nowhere /etc/thing")
    proves(sandbox, Missing("/etc/thing"))


@pytest.mark.parametrize(
    "before",
    [
        "printf '127.0.0.1 localhost\\n# mine \\t \\n10.0.0.9 other'",
        "printf '# BEGIN mlops-infra\\n1.2.3.4 old\\n# END mlops-infra\\n127.0.0.1 localhost\\n'",
        "printf '127.1 a\\n# BEGIN mlops-infra\\n1 x\\n# END mlops-infra\\n10.9 b\\n# BEGIN mlops-infra\\n2 y\\n'",
        "printf 'caf\\303\\251\\n'",
        ":",
    ],
)
def test_our_hosts_block_is_right_and_the_rest_is_as_it_was(sandbox: Sandbox, before: str) -> None:
    sandbox.run(f"{{ {before}; }} >/etc/hosts")
    resource = HostsEntries((("10.0.0.1", ("api.demo.internal", "api")),))
    ours = "# BEGIN mlops-infra\n10.0.0.1 api.demo.internal api\n# END mlops-infra\n"
    proves(sandbox, resource)
    text = sandbox.run("cat /etc/hosts")
    assert text.count(ours) == text.count("BEGIN mlops-infra") == 1
    gone = HostsEntries(())
    proves(sandbox, gone)
    assert sandbox.run("cat /etc/hosts") == text.replace(ours, "")


def test_sysctls_hold_now_and_at_boot(sandbox: Sandbox) -> None:
    # The sandbox has its own network namespace: these keys are its own.
    sandbox.run("echo 0 >/proc/sys/net/ipv4/ip_forward")
    wanted = {"net.ipv4.ip_forward": "1", "net.ipv4.ip_local_reserved_ports": "30000-32767", "no.such": "1"}
    change = proves(sandbox, Sysctls(wanted, skip=("no.such",)))
    assert "net.ipv4.ip_forward: 0 → 1" in change.diff
    sandbox.run("echo 0 >/proc/sys/net/ipv4/ip_forward")
    assert proves(sandbox, Sysctls(wanted, skip=("no.such",))).reason == "net.ipv4.ip_forward differs"
    assert sandbox.run("cat /proc/sys/net/ipv4/ip_local_reserved_ports") == "30000-32767\n"
    assert "net.ipv4.ip_forward = 1\n" in sandbox.run("cat /etc/sysctl.d/90-mlops-infra.conf")


def test_a_sysctl_that_the_kernel_does_not_know_is_named(sandbox: Sandbox) -> None:
    change = sandbox.diff(Sysctls({"net.no_such_thing": "1"}))
    assert change is not None
    failure = sandbox.send(sandbox.batch(change)).failure
    assert failure is not None and "net.no_such_thing: this kernel has no such setting" in failure.output


def test_a_module_that_is_built_in_is_no_error_and_an_unknown_one_is(sandbox: Sandbox) -> None:
    sandbox.run("printf '#!/bin/sh\\necho not found >&2; exit 1\\n' >/usr/sbin/modprobe; chmod 755 /usr/sbin/modprobe")
    proves(sandbox, KernelModules(("overlay",)))
    assert "overlay\n" in sandbox.run("cat /etc/modules-load.d/mlops-infra.conf")
    change = sandbox.diff(KernelModules(("no_such_module",)))
    assert change is not None
    failure = sandbox.send(sandbox.batch(change)).failure
    assert failure is not None and "neither a module nor a built-in feature: no_such_module" in failure.output


def test_a_user_and_a_key_come_to_be_and_stay(sandbox: Sandbox) -> None:
    user = User("platform", groups=("adm",), shell="/bin/bash")
    proves(sandbox, user)
    sandbox.run("usermod -s /bin/sh -G '' platform")
    assert proves(sandbox, user).reason == "shell differs, not in adm"
    key = AuthorizedKey("platform", "ssh-ed25519 AAAAC3Nz someone@there")
    proves(sandbox, key)
    sandbox.run("printf 'ssh-rsa AAAA other' >/home/platform/.ssh/authorized_keys")
    proves(sandbox, key)
    assert sandbox.run("cat /home/platform/.ssh/authorized_keys") == f"ssh-rsa AAAA other\n{key.key}\n"
    assert sandbox.run("stat -c '%a %U' /home/platform/.ssh /home/platform/.ssh/*") == "700 platform\n600 platform\n"


def test_a_guarded_command_runs_until_its_guard_holds(sandbox: Sandbox) -> None:
    command = GuardedCommand("flag", "[ -e /tmp/flag ] || { echo no flag; exit 1; }\n", "touch /tmp/flag\n")
    assert proves(sandbox, command).diff == "no flag"


@pytest.mark.parametrize(
    "before",
    [
        ":",
        "unit UnitFileState disabled",
        "unit UnitFileState masked",
        "unit NeedDaemonReload yes",
        "unit SubState auto-restart",
    ],
)
def test_a_unit_is_enabled_and_running_whatever_it_was(sandbox: Sandbox, before: str) -> None:
    sandbox.run(f"{SYSTEMCTL}unit() {{ mkdir -p /tmp/units/x.service; echo $2 >/tmp/units/x.service/$1; }}; {before}")
    proves(sandbox, UnitState("x.service", enabled=True, active=True))
    assert sandbox.run("cd /tmp/units/x.service; cat UnitFileState ActiveState") == "enabled\nactive\n"


def test_a_unit_is_stopped_disabled_or_masked(sandbox: Sandbox) -> None:
    sandbox.run(f"{SYSTEMCTL}systemctl enable x.timer; systemctl start x.timer")
    proves(sandbox, UnitState("x.timer", enabled=False, active=False))
    sandbox.run("systemctl start x.timer")
    proves(sandbox, UnitState("x.timer", masked=True))
    assert sandbox.run("cd /tmp/units/x.timer; cat UnitFileState ActiveState") == "masked\ninactive\n"


def test_swap_stays_off_and_fstab_keeps_every_other_byte(sandbox: Sandbox) -> None:
    sandbox.run(
        SYSTEMCTL
        + "printf '#!/bin/sh\\n' >/usr/sbin/swapoff; chmod 755 /usr/sbin/swapoff\nmkdir -p /tmp/units/swap.target\n"
        "printf 'UUID=1 / ext4 defaults 0 1\\n/swap.img\\tnone\\tswap\\tsw\\t0\\t0\\n# swap swap swap\\n"
        "/dev/swapdisk /data ext4 defaults 0 2' >/etc/fstab; chmod 600 /etc/fstab"
    )
    swap = SwapOff()
    change = sandbox.diff(swap)
    assert change is not None
    # The machine's own swap, if it has any, shows in every namespace; swapoff is a stand-in here.
    assert sandbox.send(sandbox.batch(change)).ok
    left = sandbox.diff(swap)
    assert left is None or left.reason == "in use"
    assert sandbox.run("cat /etc/fstab; stat -c ' %a' /etc/fstab") == (
        "UUID=1 / ext4 defaults 0 1\n# mlops-infra: /swap.img\tnone\tswap\tsw\t0\t0\n# swap swap swap\n"
        "/dev/swapdisk /data ext4 defaults 0 2 600\n"
    )


@pytest.fixture
def site(sandbox: Sandbox) -> Callable[[str, bytes], str]:
    """Puts files where the sandbox can fetch them (its network is its own, so by file URLs); returns the URL."""

    def serve(name: str, content: bytes) -> str:
        assert sandbox.exchange(f"mkdir -p /srv/site && cat >/srv/site/{name}", content).rc == 0
        return f"file:///srv/site/{name}"

    return serve


def test_a_binary_is_fetched_verified_and_put_in_place(sandbox: Sandbox, site: Callable[[str, bytes], str]) -> None:
    url, wanted = site("tool", b"#!/bin/sh\necho tool\n"), hashlib.sha256(b"#!/bin/sh\necho tool\n").hexdigest()
    binary = Binary("/opt/x/tool", url, wanted)
    proves(sandbox, binary)
    assert sandbox.run("/opt/x/tool; ls -A /opt/x") == "tool\ntool\n"
    sandbox.run("chmod 600 /opt/x/tool")
    assert proves(sandbox, binary).reason == "mode or owner differs"
    wrong = sandbox.diff(Binary("/opt/x/tool", url, "0" * 64))
    assert wrong is not None
    failure = sandbox.send(sandbox.batch(wrong)).failure
    assert failure is not None and wanted in failure.output
    assert sandbox.run("/opt/x/tool; ls -A /opt/x") == "tool\ntool\n"


def test_an_archive_is_unpacked_once_for_each_version(sandbox: Sandbox, site: Callable[[str, bytes], str]) -> None:
    sandbox.run("mkdir -p /tmp/a/bin && echo one >/tmp/a/bin/x && tar -czf /srv/t-v1.0.tgz -C /tmp a")
    digest = sandbox.run("sha256sum /srv/t-v1.0.tgz").split()[0]
    archive = Archive("/opt/t", "file:///srv/t-v1.0.tgz", digest, strip=1)
    proves(sandbox, archive)
    assert sandbox.run("cat /opt/t/bin/x; ls -A /opt/t") == "one\n.mlops-infra-t\nbin\n"
    sandbox.run("echo two >/tmp/a/bin/x && tar -czf /srv/t-v1.1.tgz -C /tmp a")
    digest = sandbox.run("sha256sum /srv/t-v1.1.tgz").split()[0]
    newer = Archive("/opt/t", "file:///srv/t-v1.1.tgz", digest, strip=1)
    assert proves(sandbox, newer).reason == "another version"
    assert sandbox.run("cat /opt/t/bin/x") == "two\n"


def test_an_apt_repository_retires_old_entries_for_the_same_place(sandbox: Sandbox) -> None:
    sandbox.run(
        "printf '#!/bin/sh\\necho \"$@\" >>/tmp/apt.log\\n' >/usr/bin/apt-get; chmod 755 /usr/bin/apt-get\n"
        "rm -f /etc/apt/sources.list.d/*; printf 'deb [signed-by=/k] https://x.test/v1.31/deb/ /\\n"
        "deb https://y.test/deb stable main\\n' >/etc/apt/sources.list.d/old.list"
    )
    repository = AptRepository("k8s", "https://x.test/v1.31/deb/", b"-----BEGIN PGP", suites="/")
    change = proves(sandbox, repository)
    assert "an old entry for the same repository" in change.reason
    assert sandbox.run("cat /etc/apt/sources.list.d/old.list") == (
        "# mlops-infra: deb [signed-by=/k] https://x.test/v1.31/deb/ /\ndeb https://y.test/deb stable main\n"
    )
    source = sandbox.run("cat /etc/apt/sources.list.d/k8s.sources")
    assert "URIs: https://x.test/v1.31/deb/\nSuites: /\nSigned-By: /etc/apt/keyrings/k8s.asc\n" in source
    assert sandbox.run("grep -c update /tmp/apt.log") == "1\n"


KUBECTL = """\
cat >/usr/local/bin/kubectl <<'END'
#!/bin/sh
# A stand-in for kubectl: notes what it is called with.
echo "kubectl $*" >>/tmp/kubectl.log
case $* in *apply*) cat >>/tmp/applied ;; esac
END
chmod 755 /usr/local/bin/kubectl
mkdir -p /etc/kubernetes/manifests
printf 'annotations:\\n  kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint: 10.0.0.1:6443\\n' \\
  >/etc/kubernetes/manifests/kube-apiserver.yaml
"""


def test_an_api_server_that_is_not_ready_yet_is_waited_for(sandbox: Sandbox) -> None:
    sandbox.run(KUBECTL)
    sandbox.run(
        "sed -i '2i case $* in *readyz*) echo x >>/tmp/asked; [ \"$(wc -l </tmp/asked)\" -gt 2 ]; exit ;; esac' "
        "/usr/local/bin/kubectl"
    )
    change = ApiObjects("things", ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},)).diff(Facts())
    assert change is not None
    assert sandbox.send(sandbox.batch(change)).ok
    assert sandbox.run("wc -l </tmp/asked").strip() == "3"


def test_objects_are_applied_by_the_masters_own_api_server_and_by_standard_input(sandbox: Sandbox) -> None:
    sandbox.run(KUBECTL)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "system"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hush-hush"}}
    change = ApiObjects("things", (secret, namespace)).diff(Facts())
    assert change is not None
    assert sandbox.send(sandbox.batch(change)).ok
    applied = [json.loads(line) for line in sandbox.run("cat /tmp/applied").splitlines()]
    assert applied == [namespace, secret]
    calls = sandbox.run("cat /tmp/kubectl.log").splitlines()
    assert len(calls) == 4
    assert all("--server=https://10.0.0.1:6443 --request-timeout=5s get --raw=/readyz" in call for call in calls[::2])
    assert all("--server=https://10.0.0.1:6443 apply --server-side" in call for call in calls[1::2])
    assert not any("hush" in call for call in calls)
