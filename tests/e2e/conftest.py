"""A whole installation of its own: data directory, ports, the server started as a person would."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.docker import docker_engine as docker_engine  # noqa: PLC0414 - fixtures
from tests.support.docker import docker_host as docker_host  # noqa: PLC0414
from tests.support.sshd import free_port
from tests.support.sshd import ssh_folder as ssh_folder  # noqa: PLC0414 - a fixture
from tests.support.sshd import sshd as sshd  # noqa: PLC0414 - a fixture


@dataclass
class Installation:
    """Commands run in it by subprocess, as from a shell."""

    data_dir: Path
    api_port: int = field(default_factory=free_port)
    mcp_port: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "INFRASTRUCTOR_DATA_DIR": str(self.data_dir),
            "INFRASTRUCTOR_API_PORT": str(self.api_port),
            "INFRASTRUCTOR_MCP_PORT": str(self.mcp_port),
        }

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "infrastructor", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            timeout=90,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"infrastructor {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done

    def ask(self, *arguments: str) -> dict[str, Any]:
        """The exact result of an operation, by the command line."""
        answer: dict[str, Any] = json.loads(self.run(*arguments, "--json").stdout)
        return answer

    @property
    def token(self) -> str:
        return self.run("token").stdout.strip()

    def rest(self, token: str | None = None) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.api_port}", headers={"Authorization": f"Bearer {token or self.token}"}
        )

    @property
    def mcp_url(self) -> str:
        return f"http://127.0.0.1:{self.mcp_port}/mcp"

    @property
    def log(self) -> str:
        return (self.data_dir / "logs" / "server.log").read_text()


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """Started once; stopped, and checked to have left nothing running, at the end."""
    with tempfile.TemporaryDirectory(prefix="infrastructor-e2e-") as folder:
        installed = Installation(Path(folder) / "data")
        installed.run("start")
        yield installed
        installed.run("stop")
