"""What the live tests stand on."""

import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.lab.zfs.lab import Lab, opened

_numbers = itertools.count(1)
FOLDER = os.environ.get("INFRASTRUCTOR_LAB_FOLDER", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine that is wholly emulated takes its time."""
    for item in items:
        item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def folder() -> Path:
    if not FOLDER:
        pytest.fail("INFRASTRUCTOR_LAB_FOLDER names no lab machine; ./dev.sh lab zfs starts one.")
    return Path(FOLDER)


@pytest.fixture(scope="session")
async def lab(folder: Path) -> AsyncIterator[Lab]:
    async with opened(folder) as lab:
        yield lab


@pytest.fixture
async def dataset(lab: Lab, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A dataset of this test alone, with one file of random bytes; its name has a blank."""
    name = f"tank/{request.node.originalname[:60]} {next(_numbers)}"
    await lab.sh(f"zfs create '{name}' && head -c 3000000 /dev/urandom >'/{name}/file'")
    yield name
    await lab.sh(f"zfs release -r keep '{name}@held' 2>/dev/null; zfs destroy -fR '{name}'", fails=True)
