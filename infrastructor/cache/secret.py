"""Keys of this installation, made on first use.

`cache` signs cache entries, so that nobody who can write to Redis can put words in a device's mouth. `confirm` seals
what an MCP client carries between a question to its user and the answer.
"""

import contextlib
import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def load_secret(data_dir: Path, name: str = "cache") -> bytes:
    """The key in `data_dir/secrets/<name>.key` (0600); one winner of several that start at once.

    Servers on several machines that share one Redis, or one MCP address, share these files too: else only their own
    entries help them, and a confirmation must come back to the server that asked.
    """
    folder = data_dir / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}.key"
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
        path.unlink()  # cut short by a crash: what the old key signed counts for nothing
    fresh = folder / f".{name}.key.{secrets.token_hex(8)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    return path.read_bytes()
