"""The command line over a world, as a program of its own: `python tests/doors/program.py mcp`."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from infrastructor.app import Application
from infrastructor.cli import build
from infrastructor.settings import Settings
from tests.doors.world import World


@asynccontextmanager
async def opener(settings: Settings) -> AsyncIterator[Application]:
    world = World()
    logging.getLogger(__name__).info("Opened")
    yield world.application(api_port=settings.api_port, mcp_port=settings.mcp_port, read_only=settings.read_only)


if __name__ == "__main__":
    build(World().operations, opener)()
