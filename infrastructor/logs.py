"""Logs as JSON, one object a line on stderr: constant messages, facts beside them.

logger.info("Operation finished", extra={"operation_id": "…", "execution_time_ms": 84, "cache_hit": False})
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from infrastructor.masking import MASK
from infrastructor.secret_words import mask_line, mask_value

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_PLAN_TOKEN = re.compile(r"\bplan_[A-Za-z0-9_-]{16,}")


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send everything to one handler on stderr. Never to stdout, which is the wire of stdio MCP."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("asyncssh", "mcp", "httpx2", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_meant)


def _is_meant(record: logging.LogRecord) -> bool:
    """uvicorn calls it an error when a WebSocket is refused with an answer that says why."""
    return "without completing handshake" not in str(record.msg)


class JSONFormatter(logging.Formatter):
    """One record as one line: newlines are escaped by JSON, secrets are masked."""

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
        return json.dumps({name: _masked(value) for name, value in entry.items()}, ensure_ascii=False, default=_text)


def _masked(value: Any) -> Any:
    """The value without passwords and tokens in its texts."""
    return mask_value(_PLAN_TOKEN.sub(MASK, value) if isinstance(value, str) else value)


def _text(value: Any) -> str:
    return mask_line(str(value))
