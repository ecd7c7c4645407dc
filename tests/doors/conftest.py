"""A fresh world for each test."""

import pytest

from tests.doors.world import World


@pytest.fixture
def world() -> World:
    return World()
