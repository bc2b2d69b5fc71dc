"""Events of one cause are one line."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from mlops_infra.app.events import EVENTS, events_shape, fold, watch
from mlops_infra.core import Facts
from mlops_infra.errors import InfraError
from mlops_infra.ui.console import Style
from mlops_infra.ui.stream import events_text

NOW = datetime(2026, 11, 23, 12, 10, tzinfo=UTC)


def event(name: str, minute: int, message: str = "Back-off restarting", **more: Any) -> dict[str, Any]:
    at = f"2026-11-23T12:{minute:02}:00Z"
    return {
        "type": "Warning",
        "reason": "BackOff",
        "message": message,
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": name},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        **more,
    }


def test_the_same_of_several_pods_is_one_cause() -> None:
    one = "Back-off restarting failed container web in pod web-7d9f-aaaaa_shop(0f3c2a11-aaaa-4bbb-8ccc-123456789abc)"
    other = one.replace("aaaaa", "bbbbb").replace("0f3c2a11", "1b2c3d4e")
    (found,) = fold([event("web-7d9f-aaaaa", 1, one, count=3), event("web-7d9f-bbbbb", 5, other, count=4)])
    assert found.count == 7
    assert found.objects == ("pod shop/web-7d9f-bbbbb", "pod shop/web-7d9f-aaaaa")
    assert (found.first.minute, found.last.minute) == (1, 5)
    assert found.message == other


def test_other_reasons_kinds_and_messages_stay_apart_and_the_newest_is_first() -> None:
    found = fold([event("a", 1), event("b", 3, "Failed to pull image"), event("c", 2, reason="Killing")])
    assert [f.last.minute for f in found] == [3, 2, 1]


def test_pods_that_one_owner_made_are_one_cause() -> None:
    made = [
        event("front", m, f"Created pod: front-{end}", reason="SuccessfulCreate")
        for m, end in ((1, "x7k2p"), (2, "9dlqs"))
    ]
    (found,) = fold(made)
    assert (found.count, found.message) == (2, "Created pod: front-9dlqs")


def test_warnings_only() -> None:
    assert [f.reason for f in fold([event("a", 1), event("b", 2, type="Normal", reason="Pulled")], warnings=True)] == [
        "BackOff"
    ]


def test_only_what_names_a_host() -> None:
    of_node = event("w1", 1, involvedObject={"kind": "Node", "name": "w1"}, reason="NodeNotReady")
    by_kubelet = event("a", 2, source={"component": "kubelet", "host": "w1"})
    found = fold([of_node, by_kubelet, event("b", 3)], about=["w1"])
    assert [f.reason for f in found] == ["BackOff", "NodeNotReady"]


def test_events_of_the_newer_kind_have_their_time_and_count_elsewhere() -> None:
    newer = {
        "type": "Normal",
        "reason": "Scheduled",
        "message": None,
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web"},
        "eventTime": "2026-11-23T12:01:00.000000Z",
        "series": {"count": 9, "lastObservedTime": "2026-11-23T12:04:00.000000Z"},
        "lastTimestamp": None,
        "firstTimestamp": None,
    }
    (found,) = fold([newer])
    assert (found.first.minute, found.last.minute, found.count) == (1, 4, 9)


def test_an_event_without_any_time_is_the_oldest_and_no_error() -> None:
    found = fold([event("a", 1, firstTimestamp=None, lastTimestamp=None), event("b", 2, "another")])
    assert [f.message for f in found] == ["another", "Back-off restarting"]


def test_the_text_names_how_long_ago_how_often_and_to_whom() -> None:
    shown = events_text(fold([event(f"p{n}", 9, count=2) for n in range(5)]), NOW, Style())
    assert "1 m ago  BackOff ×10" in shown
    assert "and 2 more" in shown
    assert events_text([], NOW, Style()) == "No events."


def test_the_shape_holds_every_object() -> None:
    shape = events_shape(fold([event(f"p{n}", 9) for n in range(5)]))
    assert len(shape["events"][0]["objects"]) == 5


class Asked:
    """A platform whose masters give these answers, one a look; an InfraError is raised, KeyboardInterrupt ends it."""

    def __init__(self, *looks: Any) -> None:
        self.looks = list(looks)
        self.engines = 0

    def engine_over(self, hosts: Any) -> Any:
        self.engines += 1
        engine = SimpleNamespace(observation=None, close=lambda: None)

        def observe(more: Any) -> Any:
            look = self.looks.pop(0)
            if isinstance(look, BaseException):
                raise look
            found = Facts({EVENTS: look}) if look is not None else Facts()
            engine.observation = SimpleNamespace(api=found, problems=(), facts={"m1": Facts()})
            return engine.observation

        engine.observe = observe
        return engine

    cluster = SimpleNamespace(hosts=SimpleNamespace(masters=()))


def watched(*looks: Any) -> tuple[list[list[str]], list[str], Asked]:
    platform, said, seen = Asked(*looks, KeyboardInterrupt()), [], []
    with pytest.raises(KeyboardInterrupt):
        for fresh in watch(platform, 0, said.append):  # type: ignore[arg-type]
            seen.append([f.reason for f in fresh])
    return seen, said, platform


def test_a_watch_tells_what_is_new_oldest_first_and_nothing_twice() -> None:
    first = (event("a", 2, reason="B"), event("b", 1, reason="A"))
    seen, said, platform = watched(first, first, (*first, event("c", 3, reason="C")), first)
    assert seen == [["A", "B"], ["C"]]
    assert (said, platform.engines) == ([], 1)


def test_a_watch_outlives_the_api_says_so_once_and_comes_back_over_new_connections() -> None:
    seen, said, platform = watched((event("a", 1),), None, None, (event("a", 1), event("b", 2, reason="New")))
    assert seen == [["BackOff"], ["New"]]
    assert len(said) == 1 and "asking again" in said[0]
    assert platform.engines == 3


def test_a_watch_that_cannot_begin_is_an_error() -> None:
    with pytest.raises(InfraError, match="No API server"):
        next(watch(Asked(None), 0, print))  # type: ignore[arg-type]


def test_lines_that_stay_on_the_screen_say_when_and_not_how_long_ago() -> None:
    assert "12:05:00  BackOff" in events_text(fold([event("a", 5)]), None, Style())
    assert "5 m ago  BackOff" in events_text(fold([event("a", 5)]), NOW, Style())
