"""A healthy platform for each test to make sick."""

from __future__ import annotations

import pytest
from sick import Platform


@pytest.fixture
def sick() -> Platform:
    return Platform()
