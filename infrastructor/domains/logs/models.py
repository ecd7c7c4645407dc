"""Results of the log operations. Messages come from devices: their control characters and secrets are taken out."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from infrastructor.operation import Result


class Priority(StrEnum):
    """syslog's levels, worst first."""

    EMERG = "emerg"
    ALERT = "alert"
    CRIT = "crit"
    ERR = "err"
    WARNING = "warning"
    NOTICE = "notice"
    INFO = "info"
    DEBUG = "debug"


class LogLine(Result):
    """One entry of a log."""

    time: datetime | None = Field(description="When (UTC). A line without a time of its own has the last one's.")
    source: str = Field(description="Where it was read: journal, kernel, unit:…, file:…, container:…, logread.")
    unit: str | None = Field(description="systemd unit, from the journal.")
    process: str | None = Field(description="Program and process id, e.g. sshd[1244].")
    priority: Priority | None = Field(description="Level; None where the log has none.")
    message: str = Field(description="The text; secrets in it are masked.")


class SourceProblem(Result):
    """A source that could not be read, or not wholly."""

    source: str = Field(description="As asked.")
    problem: str = Field(description="What happened, and what to do about it.")


class LogPage(Result):
    """The newest matching lines of a device, oldest of them first."""

    device: str = Field(description="Device name.")
    lines: list[LogLine] = Field(description="In order of time.")
    problems: list[SourceProblem] = Field(description="Sources that failed or are incomplete.")
    next_cursor: str | None = Field(description="Pass as cursor for the older rest.")


class DeviceLine(LogLine):
    """One entry of a log of one of several devices."""

    device: str = Field(description="Device name.")


class DeviceProblem(Result):
    """A device, or a source on it, that could not be read."""

    device: str = Field(description="Device name.")
    problem: str = Field(description="What happened, and what to do about it.")


class LogSearch(Result):
    """The newest matching lines of many devices, oldest of them first."""

    devices: int = Field(description="Devices asked.")
    counts: dict[str, int] = Field(description="How many of the lines shown come from each device.")
    lines: list[DeviceLine] = Field(description="In order of time.")
    problems: list[DeviceProblem] = Field(description="Devices and sources that failed or are incomplete.")
    next_cursor: str | None = Field(description="Pass as cursor for the older rest.")
