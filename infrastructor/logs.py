"""Logs as JSON, one object a line on stderr: constant messages, facts beside them.

logger.info("Operation finished", extra={"operation_id": "…", "execution_time_ms": 84, "cache_hit": False})
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_SECRETS = re.compile(r"\b(inf|plan)_[A-Za-z0-9_-]{16,}|(?i:bearer)\s+[A-Za-z0-9._~+/=-]{8,}")
_MASK = "‹masked›"


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send everything to one handler on stderr. Never to stdout, which is the wire of stdio MCP."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("asyncssh", "mcp", "httpx2", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class JSONFormatter(logging.Formatter):
    """One record as one line: newlines are escaped by JSON, tokens are masked."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return masked(json.dumps(entry, ensure_ascii=False, default=str))


def masked(text: str) -> str:
    """The text without bearer, API and plan tokens."""
    return _SECRETS.sub(_MASK, text)
