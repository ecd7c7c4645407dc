"""Private keys: found, checked, decrypted once in a thread, kept by path and mtime."""

import asyncio
import getpass
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from infrastructor.errors import SSHAuthenticationError
from infrastructor.ports.devices import Device
from infrastructor.settings import Settings

DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


def username_for(device: Device, settings: Settings) -> str:
    return device.ssh_username or settings.ssh_username or getpass.getuser()


class KeyStore:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[Path, tuple[float, asyncssh.SSHKey]] = {}

    async def keys_for(self, device: Device) -> list[asyncssh.SSHKey]:
        """The keys to offer, in order. Raises `SSHAuthenticationError` that names the file and the fault."""
        if all(path in self._loaded for path in self._paths(device)):
            return self._load_all(device)  # a stat or two, no thread
        return await asyncio.to_thread(self._load_all, device)

    def _load_all(self, device: Device) -> list[asyncssh.SSHKey]:
        paths = self._paths(device)
        keys = [self._load(path) for path in paths]
        if not keys and not self._settings.ssh_use_agent:
            raise SSHAuthenticationError(
                f"There is no private key to log in to {device.hostname} with.",
                hint="Make one with 'ssh-keygen -t ed25519', or set INFRASTRUCTOR_SSH_PRIVATE_KEY_PATHS.",
                attempted=False,
            )
        return keys

    def _paths(self, device: Device) -> Sequence[Path]:
        if device.ssh_private_key_path:
            return [Path(device.ssh_private_key_path).expanduser()]
        if self._settings.ssh_private_key_paths:
            return [path.expanduser() for path in self._settings.ssh_private_key_paths]
        folder = Path.home() / ".ssh"
        return [folder / name for name in DEFAULT_NAMES if (folder / name).exists()]

    def _load(self, path: Path) -> asyncssh.SSHKey:
        try:
            status = path.stat()
            if status.st_mode & 0o077:
                raise SSHAuthenticationError(
                    f"The private key {path} can be read by others (mode {status.st_mode & 0o777:04o}).",
                    hint=f"Run: chmod 600 {path}",
                    attempted=False,
                )
            known = self._loaded.get(path)
            if known is None or known[0] != status.st_mtime:
                secret = self._settings.ssh_key_passphrase
                key = asyncssh.read_private_key(path, secret.get_secret_value() if secret else None)
                known = self._loaded[path] = (status.st_mtime, key)
        except FileNotFoundError as error:
            raise SSHAuthenticationError(
                f"The private key {path} does not exist.",
                hint="Correct the path, or copy the key there.",
                attempted=False,
            ) from error
        except OSError as error:
            raise SSHAuthenticationError(
                f"The private key {path} cannot be read: {error.strerror}.",
                hint="Let the server's user read it, and nobody else.",
                attempted=False,
            ) from error
        except asyncssh.KeyImportError as error:
            raise SSHAuthenticationError(
                f"The private key {path} cannot be used: {error}.",
                hint="An encrypted key needs INFRASTRUCTOR_SSH_KEY_PASSPHRASE.",
                attempted=False,
            ) from error
        return known[1]
