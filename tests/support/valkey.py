"""A real Valkey from the wheel."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from infrastructor.embedded.account import Account
from infrastructor.embedded.process import locked
from infrastructor.embedded.sockets import socket_directory
from infrastructor.embedded.valkey import EmbeddedValkey


class TestValkey:
    """One server. Tests that break it take one of their own."""

    __test__ = False

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = Account.for_stores(data_dir)
        self.sockets = socket_directory(data_dir, account)
        self._server = EmbeddedValkey(data_dir, self.sockets, account)
        self.url = self._server.url
        self.socket = str(self.sockets / "valkey.sock")

    def start(self) -> None:
        with locked(self.data_dir / "embedded.lock"):
            self._server.start()
            self._server.wait()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        pid = self._server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            pass

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        pid = self._server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
