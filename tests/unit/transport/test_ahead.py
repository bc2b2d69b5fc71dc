"""Connections that are opened before they are asked for."""

from __future__ import annotations

import threading

import pytest

from mlops_infra.transport.ahead import Ahead
from mlops_infra.transport.errors import Refused
from mlops_infra.transport.target import Target

ONE, OTHER = Target("m1", "10.0.0.1"), Target("m2", "10.0.0.2")


def test_it_is_opened_at_once_and_handed_out_once() -> None:
    ahead, opened = Ahead(), threading.Event()

    def connect(target: Target) -> str:
        opened.set()
        return target.name

    ahead.expect([ONE, ONE], connect)
    assert opened.wait(5)
    assert ahead.take(ONE) == "m1"
    assert ahead.take(ONE) is None, "the next connection is a new one: what was opened before proves nothing by then"
    assert ahead.take(OTHER) is None


def test_who_takes_it_waits_for_it_and_is_told_why_there_is_none() -> None:
    ahead, may = Ahead(), threading.Event()

    def connect(target: Target) -> str:
        assert may.wait(5)
        raise Refused("no", host=target.name)

    ahead.expect([ONE], connect)
    threading.Timer(0.05, may.set).start()
    with pytest.raises(Refused):
        ahead.take(ONE)


def test_what_nobody_wanted_ends_even_when_it_comes_late() -> None:
    ahead, may = Ahead(), threading.Event()
    ended: list[str] = []
    gone = threading.Event()

    def connect(target: Target) -> str:
        if target is OTHER:
            assert may.wait(5)
        return target.name

    def end(connection: str) -> None:
        ended.append(connection)
        if len(ended) == 2:
            gone.set()

    ahead.expect([ONE, OTHER], connect)
    ahead.close(end)
    may.set()
    assert gone.wait(5)
    assert sorted(ended) == ["m1", "m2"]
    assert ahead.take(ONE) is None
