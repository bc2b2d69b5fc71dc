"""Packages with the real apt and dpkg, from a repository that the test makes."""

from __future__ import annotations

import pytest
from sandbox import Sandbox, needs_root

from mlops_infra.core import Kind
from mlops_infra.resources import Packages

pytestmark = needs_root

SITE = """
set -e
make() {  # name version
  d=/tmp/deb/$1_$2; mkdir -p $d/DEBIAN $d/etc
  printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\n' $1 $2 >$d/DEBIAN/control
  printf 'Maintainer: T <t@example.org>\\nDescription: t\\n' >>$d/DEBIAN/control
  echo /etc/$1.conf >$d/DEBIAN/conffiles; echo "as packaged $2" >$d/etc/$1.conf
  dpkg-deb --build --root-owner-group -Znone $d /srv/repo/$1_$2_all.deb >/dev/null
}
mkdir -p /srv/repo
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /var/lib/apt/lists; mkdir -p /etc/apt/sources.list.d
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
make tkubelet 1.31.4-1.1; make tkubelet 1.31.5-1.1; make tcri 1.31.1-1.1
cd /srv/repo
: >Packages
for f in *.deb; do
  dpkg-deb -f $f >>Packages
  printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $f $(stat -c %s $f) $(sha256sum $f | cut -d' ' -f1) >>Packages
done
"""


@pytest.fixture
def site(sandbox: Sandbox) -> Sandbox:
    sandbox.run(SITE)
    return sandbox


def installed(box: Sandbox, name: str) -> str:
    return box.run(f"dpkg-query -W -f '${{Version}} ${{db:Status-Want}}' {name}")


def test_packages_are_installed_pinned_held_and_then_left_alone(site: Sandbox) -> None:
    pinned = Packages("kubernetes", {"tkubelet": "1.31.4-*", "tcri": None}, hold=True)
    change = site.converge(pinned)
    assert change is not None and change.kind is Kind.CREATE
    assert len(change.actions) == 1
    assert installed(site, "tkubelet") == "1.31.4-1.1 hold"
    assert site.converge(pinned) is None

    # A hold taken off is put back without touching apt.
    site.run("apt-mark unhold tcri; mv /usr/bin/apt-get /usr/bin/apt-get.away")
    change = site.converge(pinned)
    assert change is not None and change.reason == "tcri not held"
    site.run("mv /usr/bin/apt-get.away /usr/bin/apt-get")

    # A held package moves to a version that is asked for, its file of ours stays, and it is held again.
    site.run("echo ours >/etc/tkubelet.conf")
    newer = Packages("kubernetes", {"tkubelet": "1.31.5-*", "tcri": None}, hold=True)
    change = site.converge(newer)
    assert change is not None and change.diff == "tkubelet: 1.31.4-1.1 → 1.31.5-*"
    assert installed(site, "tkubelet") == "1.31.5-1.1 hold"
    assert site.run("cat /etc/tkubelet.conf") == "ours\n"

    # And back: the pin decides, also downwards.
    assert site.converge(pinned) is not None
    assert installed(site, "tkubelet") == "1.31.4-1.1 hold"


def test_the_lists_are_read_only_when_they_cannot_answer(site: Sandbox) -> None:
    site.run(
        'mv /usr/bin/apt-get /usr/bin/apt-get.real; printf \'#!/bin/sh\\necho "$@" >>/tmp/calls\\n'
        'exec /usr/bin/apt-get.real "$@"\\n\' >/usr/bin/apt-get; chmod 755 /usr/bin/apt-get'
    )
    site.converge(Packages("a", {"tcri": None}))
    site.converge(Packages("b", {"tkubelet": None}))
    assert site.run("grep -c ' update' /tmp/calls") == "1\n"
    assert installed(site, "tkubelet") == "1.31.5-1.1 install"


def test_a_version_that_nobody_has_is_an_error_that_names_it(site: Sandbox) -> None:
    change = site.diff(Packages("a", {"tkubelet": "9.9.9-*"}))
    assert change is not None
    failure = site.send(site.batch(change)).failure
    assert failure is not None and "9.9.9" in failure.output


def test_packages_that_must_not_be_there_are_removed(site: Sandbox) -> None:
    site.converge(Packages("a", {"tcri": None}, hold=True))
    change = site.converge(Packages("b", {}, remove=("tcri", "tnever")))
    assert change is not None and change.reason == "tcri installed"


COUNTED = (
    'mv /usr/bin/apt-get /usr/bin/apt-get.real; printf \'#!/bin/sh\\necho "$@" >>/tmp/calls\\n'
    'exec /usr/bin/apt-get.real "$@"\\n\' >/usr/bin/apt-get; chmod 755 /usr/bin/apt-get'
)


def test_what_later_steps_declare_comes_in_the_first_transaction_and_is_theirs_to_hold(site: Sandbox) -> None:
    site.run(COUNTED)
    later = Packages("kubernetes", {"tkubelet": "1.31.4-*"}, hold=True)
    first = Packages("base", {"tcri": None}, along=later.packages)
    # As in a run: both were judged before anything was done.
    facts = site.observe(first.probes() | later.probes())
    changes = [change for r in (first, later) if (change := r.diff(facts)) is not None]
    assert [c.diff for c in changes] == ["tcri: (none) → installed", "tkubelet: (none) → 1.31.4-*"]
    assert site.send(site.batch(*changes)).ok
    assert installed(site, "tkubelet") == "1.31.4-1.1 hold"
    assert installed(site, "tcri") == "1.31.1-1.1 install"
    assert site.run("grep -vc -e ' -s ' -e ' update' /tmp/calls") == "1\n", "one transaction"
    assert site.converge(later) is None


def test_what_cannot_come_along_stops_nobody(site: Sandbox) -> None:
    site.converge(Packages("base", {"tcri": None}, along={"tkubelet": "9.9-*", "nosuch": None}))
    assert installed(site, "tcri") == "1.31.1-1.1 install"


def test_what_is_there_in_another_version_is_never_moved_by_the_way(site: Sandbox) -> None:
    site.converge(Packages("kubernetes", {"tkubelet": "1.31.4-*"}, hold=True))
    site.converge(Packages("base", {"tcri": None}, along={"tkubelet": "1.31.5-*"}))
    assert installed(site, "tkubelet") == "1.31.4-1.1 hold", "an upgrade begins with a drain, not with a base package"
