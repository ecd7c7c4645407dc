"""A real engine behind a real sshd."""

from tests.support.docker import docker_engine, docker_host, stdio_host  # noqa: F401
from tests.support.sshd import client, plain_user, registry, ssh_folder  # noqa: F401
