"""What holds for all tests."""

import os

import pytest
from hypothesis import settings

# A property is true or not; how long an example takes on a busy machine says nothing of it. With a deadline the first
# and simplest example fails now and then, for whatever ran beside it.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that share a server must run in one process: two engines on one machine are no two machines."""
    if os.environ.get("PYTEST_XDIST_WORKER") and getattr(session.config.option, "loadgroup", False):
        lost = [
            item.nodeid for item in session.items if item.get_closest_marker("xdist_group") and "@" not in item.nodeid
        ]
        if lost:
            raise pytest.UsageError(f"This pytest-xdist keeps no groups together: {lost[0]}")
