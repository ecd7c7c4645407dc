"""The SSH engine: one connection per device, resident shells on it, and the same over a local pipe."""

from infrastructor.ssh.client import AsyncSSHClient

__all__ = ["AsyncSSHClient"]
