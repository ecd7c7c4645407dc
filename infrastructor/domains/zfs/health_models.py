"""Results of judging: findings, recommendations, and the report of all."""

from enum import StrEnum

from pydantic import Field

from infrastructor.domains.zfs.models import absent
from infrastructor.operation import Result


class Grade(StrEnum):
    """How bad. critical: data is lost or may be lost any time; warning: act soon; note: worth knowing."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    CRITICAL = "critical"


class Finding(Result):
    """Something that is not as it should be."""

    severity: Grade = Field(description="critical, warning or note.")
    code: str = Field(description="Rule, e.g. checksum_errors, capacity, scrub_age.")
    pool: str | None = Field(default=None, exclude_if=absent, description="Pool.")
    subject: str | None = Field(default=None, exclude_if=absent, description="Vdev, disk or dataset.")
    evidence: str = Field(description="What was read, with its values.")
    action: str = Field(description="What to do.")
    command: str | None = Field(default=None, exclude_if=absent, description="The exact command, where there is one.")


class PoolVerdict(Result):
    """A pool and the worst that was found of it."""

    name: str = Field(description="Pool.")
    state: str = Field(description="As zpool tells it; it says nothing of errors.")
    verdict: Grade = Field(description="ok, note, warning or critical.")
    capacity_percent: int | None = Field(description="Share in use.")


class ZfsHealth(Result):
    """What is wrong with the pools of a device, worst first."""

    device: str = Field(description="Device name.")
    verdict: Grade = Field(description="The worst of all.")
    counts: dict[str, int] = Field(description="How many findings of each severity.")
    pools: list[PoolVerdict] = Field(description="The worst first.")
    findings: list[Finding] = Field(description="Worst first, as many as fit.")
    findings_total: int = Field(description="How many there are.")
    not_checked: list[str] = Field(description="What could not be judged, and why.")


class Recommendation(Result):
    """A change that what was measured speaks for."""

    priority: str = Field(description="high, medium or low.")
    code: str = Field(description="Rule, e.g. recordsize, compression, arc_size.")
    pool: str | None = Field(default=None, exclude_if=absent, description="Pool.")
    subject: str | None = Field(default=None, exclude_if=absent, description="Dataset or vdev.")
    measured: str = Field(description="The measurement that speaks for it.")
    effect: str = Field(description="What to expect.")
    risk: str = Field(description="What may go wrong, and what it does not change.")
    command: str = Field(description="The exact command.")


class ZfsRecommendations(Result):
    """Changes worth making, each with the measurement behind it."""

    device: str = Field(description="Device name.")
    recommendations: list[Recommendation] = Field(description="The most useful first, as many as fit.")
    total: int = Field(description="How many there are.")
    measured_over_seconds: int | None = Field(description="Since the machine started: how long the counters count.")
    not_measured: list[str] = Field(description="What could not be measured, and why.")
