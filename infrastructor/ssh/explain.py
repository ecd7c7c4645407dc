"""asyncssh's errors in our words."""

import asyncssh

from infrastructor.errors import (
    HostKeyMismatch,
    InfrastructorError,
    SSHAuthenticationError,
    SSHConnectionError,
)
from infrastructor.ports import Device, HostKey
from infrastructor.ssh.connection import Owner


class Dropped(Exception):
    """Closed before the handshake was done: what a busy sshd does, so it is worth another try."""


def explain(error: Exception, device: Device, owner: Owner, user: str) -> Exception:
    """What went wrong between TCP and login: an error of ours, or `Dropped`."""
    place = where(device)
    explained: Exception
    match error:
        case asyncssh.HostKeyNotVerifiable():
            explained = _mismatch(device, owner.shown)
        case asyncssh.KeyExchangeFailed() if "host key" in error.reason.lower():
            explained = _mismatch(device, None)
        case asyncssh.KeyExchangeFailed():
            explained = SSHConnectionError(
                f"{place} and we have no algorithm in common: {error.reason}",
                hint="For an old device set INFRASTRUCTOR_SSH_LEGACY_ALGORITHMS=true.",
            )
        case asyncssh.ChannelOpenError():
            explained = SSHConnectionError(
                f"The jump host {device.jump} cannot reach {place}: {error.reason}",
                hint="It must allow TCP forwarding, and the device must be up.",
            )
        case asyncssh.PermissionDenied():
            explained = SSHAuthenticationError(f"{place} does not accept any of our keys for user {user}.")
        case asyncssh.Error() if "authentication failures" in error.reason.lower():
            explained = SSHAuthenticationError(f"{place} does not accept any of our keys for user {user}.")
        case asyncssh.ConnectionLost() | ConnectionError():
            explained = Dropped(str(error) or type(error).__name__)
        case _:
            explained = SSHConnectionError(f"The SSH handshake with {place} failed: {error}.")
    return explained


def as_error(error: Exception) -> InfrastructorError:
    if isinstance(error, InfrastructorError):
        return error
    return SSHConnectionError(f"The connection was closed before the SSH handshake: {error}.")


def _mismatch(device: Device, shown: asyncssh.SSHKey | None) -> HostKeyMismatch:
    trusted = ", ".join(key.fingerprint for key in device.host_keys)
    if shown is None:
        return HostKeyMismatch(
            f"{device.hostname} no longer has a host key of a trusted type; trusted: {trusted}.", trusted=trusted
        )
    seen = as_host_key(shown)
    return HostKeyMismatch(
        f"{device.hostname} shows the host key {seen.fingerprint} ({seen.algorithm}); trusted: {trusted}.",
        shown=seen.fingerprint,
        trusted=trusted,
    )


def address_of(device: Device) -> tuple[str, int]:
    """Where it is dialled."""
    return device.address or device.hostname, device.ssh_port


def where(device: Device) -> str:
    host, port = address_of(device)
    return f"{device.hostname} ({host}:{port})"


def as_host_key(key: asyncssh.SSHKey) -> HostKey:
    """As OpenSSH prints it."""
    algorithm, public_key, *_ = key.export_public_key().decode().split()
    return HostKey(algorithm=algorithm, public_key=public_key, fingerprint=key.get_fingerprint())
