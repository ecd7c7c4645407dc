"""The key that signs cache entries, so that nobody who can write to Redis can put words in a device's mouth."""

import contextlib
import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def load_secret(data_dir: Path) -> bytes:
    """The key in `data_dir/secrets/cache.key` (0600), made on first use; one winner of several that start at once.

    Servers on several machines that share one Redis share this file too, or only their own entries help them.
    """
    folder = data_dir / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "cache.key"
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        path.unlink()  # cut short by a crash: old entries count as misses
    fresh = folder / f".cache.key.{secrets.token_hex(8)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    return path.read_bytes()
