"""Every test here runs against real servers."""

from tests.support.docker import docker_engine, docker_host, stdio_host  # noqa: F401
from tests.support.sshd import (  # noqa: F401
    client,
    plain_user,
    registry,
    ssh_folder,
    ssh_host,
    sshd,
    start_sshd,
)
