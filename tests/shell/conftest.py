"""Fixtures for scripts that are run for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import SHELLS, Sandbox


@pytest.fixture(params=SHELLS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    box = Sandbox(request.param)
    yield box
    box.close()
