"""What is new since the last look: told once, remembered beside cluster.yaml, forgotten when it was seen mended."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from sick import NOW, STOPPED, Platform

from mlops_infra.app.doctor_since import Memory, news_of, news_shape, recall, remember
from mlops_infra.doctor import probes as p
from mlops_infra.model.site import Site
from mlops_infra.ui.console import Style
from mlops_infra.ui.doctor import news_text
from mlops_infra.ui.doctor_watch import Told, watched_text

LATER = NOW + timedelta(hours=1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "cluster.yaml")


def first_look(sick: Platform) -> Memory:
    return news_of(sick.diagnosis(), None, NOW).now


def test_without_an_earlier_look_everything_is_new(sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    news = news_of(sick.diagnosis(), None, NOW)
    assert news.last is None
    assert [f.check for f in news.new] == ["kubelet.up"]


def test_what_was_there_before_is_counted_and_not_told(sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    before = first_look(sick)
    sick.drift("w2", "packages:kubernetes", reason="not held")
    news = news_of(sick.diagnosis(), before, LATER)
    assert [f.check for f in news.new] == ["host.packages"]
    assert (news.known, news.gone, news.last) == (1, (), NOW)
    since = {one.check: one.since for one in news.now.found}
    assert since == {"kubelet.up": NOW, "host.packages": LATER}


def test_the_same_trouble_with_other_numbers_is_not_new_and_a_worse_one_is(sick: Platform) -> None:
    sick.say("w1", p.MACHINE, "disk", "/dev/sda 1000000 880000 120000 88% /")
    before = first_look(sick)
    sick.say("w1", p.MACHINE, "disk", "/dev/sda 1000000 890000 110000 89% /")
    assert news_of(sick.diagnosis(), before, LATER).new == ()
    sick.say("w1", p.MACHINE, "disk", "/dev/sda 1000000 980000 20000 98% /")
    worse = news_of(sick.diagnosis(), before, LATER)
    assert [f.check for f in worse.new] == ["host.disk"]
    assert worse.gone == ()


def test_a_cause_that_explains_something_new_is_told_again(sick: Platform) -> None:
    sick.facts["m2"][p.CONTAINERD] = STOPPED
    before = first_look(sick)
    sick.etcd_stops("m2")
    (told,) = news_of(sick.diagnosis(), before, LATER).new
    assert told.check == "cri.up"
    assert "etcd.member" in {f.check for f in told.follows}


def test_what_is_mended_is_gone_once(sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    before = first_look(sick)
    healthy = news_of(Platform().diagnosis(), before, LATER)
    assert [g.check for g in healthy.gone] == ["kubelet.up"]
    assert news_of(Platform().diagnosis(), healthy.now, LATER).gone == ()


def test_what_could_not_be_asked_is_neither_gone_nor_forgotten(sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    before = first_look(sick)
    lost = Platform()
    lost.lose("w1")
    news = news_of(lost.diagnosis(), before, LATER)
    assert news.gone == ()
    back = Platform()
    back.facts["w1"][p.KUBELET] = STOPPED
    again = news_of(back.diagnosis(), news.now, LATER)
    assert again.new == ()
    assert [g.check for g in again.gone] == ["host.ssh"]


def test_memory_lies_beside_the_file_for_its_owner_alone_and_comes_back_as_it_was(sick: Platform, site: Site) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    memory = first_look(sick)
    assert recall(site) is None
    assert remember(site, memory)
    path = site.directory / "doctor.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert recall(site) == memory
    assert [f.name for f in path.parent.iterdir()] == ["doctor.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 3, "findings": []}', '{"at": "2026-11-23T12:00:00+00:00"}'])
def test_a_memory_that_cannot_be_read_is_none(site: Site, text: str) -> None:
    site.directory.mkdir(parents=True)
    (site.directory / "doctor.json").write_text(text)
    assert recall(site) is None


def test_a_place_that_cannot_be_written_to_is_said_and_no_error(sick: Platform, site: Site) -> None:
    site.directory.parent.mkdir()
    site.directory.write_text("a file where the directory should be")
    assert not remember(site, first_look(sick))


def test_it_is_told_with_what_is_gone_and_what_is_as_before(sick: Platform) -> None:
    sick.facts["w1"][p.KUBELET] = STOPPED
    sick.drift("w2", "packages:kubernetes", reason="not held")
    before = first_look(sick)
    other = Platform()
    other.drift("w2", "packages:kubernetes", reason="not held")
    other.facts["w2"][p.KUBELET] = STOPPED
    found = other.diagnosis()
    news = news_of(found, before, LATER)
    text = news_text(news, found, Style())
    assert text.startswith("1. error w2: kubelet is stopped  kubelet.up")
    assert "gone:\n  - w1: kubelet is stopped (kubelet.up)" in text
    assert "1 new finding since 2026-11-23 12:00 UTC; 1 finding as before" in text
    assert "gone:" not in news_text(news, found, Style(), whole=False)
    assert news_shape(news, whole=True)["gone"][0]["check"] == "kubelet.up"
    assert news_shape(news, whole=False)["gone"] == []


def test_the_watched_screen_tells_what_came_and_went_and_not_what_was_there_at_first(sick: Platform) -> None:
    told = Told()
    sick.facts["w1"][p.KUBELET] = STOPPED
    first = news_of(sick.diagnosis(), None, NOW)
    told.learn(first)
    assert "since it began" not in watched_text(sick.diagnosis(), told, Style(), 5, NOW)
    other = Platform()
    other.facts["w2"][p.KUBELET] = STOPPED
    told.learn(news_of(other.diagnosis(), first.now, LATER))
    text = watched_text(other.diagnosis(), told, Style(), 5, LATER)
    assert text.startswith("2026-11-23 13:00:00 UTC, every 5 s, Ctrl-C ends\n1. error w2: kubelet is stopped")
    assert "13:00:00 came  w2: kubelet is stopped (kubelet.up)" in text
    assert "13:00:00 went  w1: kubelet is stopped (kubelet.up)" in text
