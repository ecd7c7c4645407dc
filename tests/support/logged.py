"""What is logged while a test runs, as it would stand in the log of the server."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from infrastructor import logs


@contextmanager
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("INFO", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = before
        root.setLevel(level)
