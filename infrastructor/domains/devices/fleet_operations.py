"""Operations on many devices at once."""

from typing import Any

from pydantic import Field

from infrastructor.completion import Lookup
from infrastructor.domains.devices.models import FleetAnswer, FleetOverview, FleetRun, OverviewRow, Problem
from infrastructor.domains.system.models import SystemMetrics
from infrastructor.errors import CommandTimeout, InfrastructorError, SSHConnectionError
from infrastructor.fleet import Outcome, Selector, check_fan_out, fan_out, fans_out, select
from infrastructor.operation import PLAIN, Context, Params, completes, operation
from infrastructor.paging import Limit, fitting
from infrastructor.ports.callers import Effect

_DISK_FULL_PERCENT = 90.0
_MEMORY_HIGH_PERCENT = 95.0
_CPU_HIGH_PERCENT = 95.0
_REBOOTED_S = 900
_BUDGET = 18_000  # characters of the problems, and of the rows
_ORDER = ("unreachable", "failed", "disk_full", "mount_hung", "memory_high", "cpu_high", "rebooted")


class FleetRunParams(Params):
    """Input of fleet_run."""

    operation: str = Field(
        pattern=r"^[a-z][a-z0-9_]{2,63}$",
        description="READ, e.g. system_metrics.",
        json_schema_extra=completes("operation"),
    )
    selector: Selector
    arguments: dict[str, Any] = Field(default_factory=dict, max_length=30, description="Its parameters besides device.")
    deadline_seconds: float = Field(
        default=60.0, gt=0, le=600, description="Slower devices count as failed.", json_schema_extra=PLAIN
    )
    max_bytes: int = Field(default=32_000, ge=1000, le=50_000_000, description="Size limit of all answers.")


@operation(name="fleet_run", effect=Effect.READ, route="POST /api/fleet/run", fan_out=True)
async def fleet_run(ctx: Context, params: FleetRunParams) -> FleetRun:
    """Run one READ operation on many devices side by side; each answers or fails alone. Use it for fleet questions."""
    wanted = ctx.operation(params.operation)
    check_fan_out(wanted)
    devices = select(await ctx.devices.all(), params.selector)
    outcomes = await fan_out(
        ctx,
        wanted,
        devices,
        params.arguments,
        deadline_s=params.deadline_seconds,
    )
    answers = [_answer(name, outcome) for name, outcome in outcomes.items()]
    answers.sort(key=lambda answer: answer.error is None)
    kept = fitting(answers, params.max_bytes)
    failed = sum(1 for answer in answers if answer.error is not None)
    cut = len(kept) < len(answers)
    return FleetRun(
        operation=wanted.name,
        selected=len(devices),
        ok=len(answers) - failed,
        failed=failed,
        answers=kept,
        truncated=cut,
        hint=f"{len(answers) - len(kept)} answers left out: narrow the selector, or raise max_bytes." if cut else None,
    )


def _answer(name: str, outcome: Outcome) -> FleetAnswer:
    if isinstance(outcome, InfrastructorError):
        return FleetAnswer(device=name, error=outcome.code, message=outcome.message, hint=outcome.hint or None)
    return FleetAnswer(
        device=name,
        result=outcome.result.model_dump(mode="json"),
        collected_at=outcome.collected_at,
        cache=outcome.cache,
    )


async def fan_out_names(lookup: Lookup) -> list[str]:
    """Completions: what fleet_run can run."""
    return [
        name
        for name, wanted in lookup.operations.items()
        if fans_out(wanted) and lookup.caller.interface not in wanted.hidden_from
    ]


class FleetOverviewParams(Params):
    """Input of fleet_overview."""

    selector: Selector = "*"
    limit: Limit = 100
    deadline_seconds: float = Field(
        default=20.0, gt=0, le=600, description="How long to wait for slow devices.", json_schema_extra=PLAIN
    )


@operation(
    name="fleet_overview",
    effect=Effect.READ,
    route="GET /api/fleet/overview",
    resource_uri="fleet://overview",
    fan_out=True,
)
async def fleet_overview(ctx: Context, params: FleetOverviewParams) -> FleetOverview:
    """Show the whole fleet at a glance: problems first, then a row a device. Start here to see what needs attention."""
    devices = select(await ctx.devices.all(), params.selector)
    outcomes = await fan_out(
        ctx,
        ctx.operation("system_metrics"),
        devices,
        {},
        deadline_s=params.deadline_seconds,
    )
    problems: list[Problem] = []
    rows: list[OverviewRow] = []
    unreachable = 0
    for name, outcome in outcomes.items():
        if isinstance(outcome, InfrastructorError):
            away = isinstance(outcome, SSHConnectionError | CommandTimeout)
            unreachable += away
            message = f"{outcome.code}: {outcome.message}"
            what = "unreachable" if away else "failed"
            problems.append(Problem(device=name, what=what, message=message, hint=outcome.hint or None))
            continue
        metrics: SystemMetrics = outcome.result
        row = _overview_row(metrics)
        rows.append(row)
        problems += _problems(metrics, row)
    problems.sort(key=lambda problem: _ORDER.index(problem.what))
    rows.sort(key=lambda row: -(row.fullest_percent or 0.0))
    return FleetOverview(
        devices=len(devices),
        healthy=len(devices) - len({problem.device for problem in problems}),
        unreachable=unreachable,
        problems=fitting(problems[: params.limit], _BUDGET),
        rows=fitting(rows[: params.limit], _BUDGET),
        total=len(rows),
    )


def _overview_row(metrics: SystemMetrics) -> OverviewRow:
    fullest = max(metrics.mounts, key=lambda mount: mount.usage_percent or 0.0, default=None)
    return OverviewRow(
        device=metrics.device,
        cpu_percent=metrics.cpu.usage_percent,
        memory_percent=metrics.memory.usage_percent,
        fullest_mount=None if fullest is None else fullest.path,
        fullest_percent=None if fullest is None else fullest.usage_percent,
        load_one=metrics.load.one,
        uptime_seconds=metrics.uptime_seconds,
    )


def _problems(metrics: SystemMetrics, row: OverviewRow) -> list[Problem]:
    found: list[tuple[str, str, str | None]] = []
    for mount in metrics.mounts:
        if mount.usage_percent is not None and mount.usage_percent >= _DISK_FULL_PERCENT and not mount.read_only:
            found.append(("disk_full", f"{mount.path} is {mount.usage_percent:g} % full.", "Free space or grow it."))
        if mount.state == "hung":
            found.append(("mount_hung", f"{mount.path} ({mount.source}) does not answer.", "Check its server."))
    if row.memory_percent is not None and row.memory_percent >= _MEMORY_HIGH_PERCENT:
        found.append(("memory_high", f"Memory is {row.memory_percent:g} % used.", "process_list with sort=memory."))
    if row.cpu_percent is not None and row.cpu_percent >= _CPU_HIGH_PERCENT:
        found.append(("cpu_high", f"CPU is {row.cpu_percent:g} % busy.", "process_list with sort=cpu."))
    if row.uptime_seconds is not None and row.uptime_seconds < _REBOOTED_S:
        found.append(("rebooted", f"It started {row.uptime_seconds} s ago.", None))
    return [Problem(device=metrics.device, what=what, message=message, hint=hint) for what, message, hint in found]
