"""What the engine is held to, and whether figures meet it. Pure.

Figures are lists of repeats by name, `workload.client.figure`. A goal compares two of them, or one with a limit.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

Samples = Mapping[str, Sequence[float]]


class Outcome(StrEnum):
    PASS = "PASS"
    MISS = "MISS"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """`figure`, divided by `over` when given, must not be above (`at_most`) or below (`at_least`) a limit.

    Of one run's repeats, taken side by side, the median of the ratios counts.
    """

    title: str
    figure: str
    over: str | None = None
    at_most: float = math.inf
    at_least: float = -math.inf
    unit: str = ""

    @property
    def workload(self) -> str:
        return self.figure.partition(".")[0]

    @property
    def limit(self) -> str:
        return f"≤ {self.show(self.at_most)}" if self.at_most < math.inf else f"≥ {self.show(self.at_least)}"

    def show(self, value: float) -> str:
        """1/13.4 for what should be a small fraction, else the number and its unit."""
        if self.over and self.at_most < 0.3:
            return f"1/{1 / value:.3g}" if value > 0 else "0"
        if self.over:
            return f"{value:.3g} ×"
        return f"{value:,.0f}{self.unit}" if abs(value) >= 1000 else f"{value:.3g}{self.unit}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    goal: Goal
    outcome: Outcome
    measured: float | None = None

    @property
    def shown(self) -> str:
        return "–" if self.measured is None else self.goal.show(self.measured)


def judge(goal: Goal, samples: Samples) -> Verdict:
    """Whether the samples meet the goal; not run when they lack one of its figures."""
    values, bases = samples.get(goal.figure), samples.get(goal.over) if goal.over else None
    if not values or (goal.over and not bases):
        return Verdict(goal=goal, outcome=Outcome.NOT_RUN)
    measured = ratio(values, bases) if bases else median(values)
    met = goal.at_least <= measured <= goal.at_most
    return Verdict(goal=goal, outcome=Outcome.PASS if met else Outcome.MISS, measured=measured)


def ratio(values: Sequence[float], bases: Sequence[float]) -> float:
    """Median of the ratios repeat by repeat; of peers with fewer repeats, the ratio of the medians."""
    if len(values) == len(bases):
        return median(_divide(value, base) for value, base in zip(values, bases, strict=True))
    return _divide(median(values), median(bases))


def _divide(value: float, base: float) -> float:
    return value / base if base else math.inf


def judge_all(samples: Samples, goals: Iterable[Goal] | None = None) -> list[Verdict]:
    return [judge(goal, samples) for goal in (GOALS if goals is None else goals)]


OURS = "fan_out.ours.client_us"

GOALS = (
    Goal(
        title="fan-out: client CPU to `conn.run`, same cipher",
        figure=OURS,
        over="fan_out.run_gcm.client_us",
        at_most=1 / 9,
    ),
    Goal(
        title="fan-out: client CPU to `conn.run`, its defaults",
        figure=OURS,
        over="fan_out.run.client_us",
        at_most=1 / 13,
    ),
    Goal(title="fan-out: client CPU to pyinfra", figure=OURS, over="fan_out.pyinfra.client_us", at_most=1 / 20),
    Goal(
        title="fan-out: client CPU to ansible `command`",
        figure=OURS,
        over="fan_out.ansible.client_us",
        at_most=1 / 500,
    ),
    Goal(
        title="fan-out: throughput to `conn.run`, same cipher",
        figure="fan_out.ours.ops_per_s",
        over="fan_out.run_gcm.ops_per_s",
        at_least=3.0,
    ),
    Goal(
        title="fan-out: client CPU to a raw resident shell with the same answers",
        figure=OURS,
        over="fan_out.raw_shell.client_us",
        at_most=1.25,
    ),
    Goal(
        title="sampler: client CPU to `conn.run` per fact",
        figure="sampler.ours.client_us",
        over="sampler.run_gcm.client_us",
        at_most=1 / 20,
    ),
    Goal(
        title="sampler: throughput to `conn.run` per fact",
        figure="sampler.ours.ops_per_s",
        over="sampler.run_gcm.ops_per_s",
        at_least=15.0,
    ),
    Goal(
        title="warm p50 of one command to `conn.run`",
        figure="latency.ours.p50_ms",
        over="latency.run_gcm.p50_ms",
        at_most=0.5,
    ),
    Goal(
        title="last live answer with 20 dead hosts of 200 to without",
        figure="dead_hosts.with.last_s",
        over="dead_hosts.without.last_s",
        at_most=1.05,
    ),
    Goal(
        title="executions of up to 1,000 identical concurrent requests",
        figure="identical.ours.executions",
        at_most=1,
        at_least=1,
    ),
    Goal(title="channels leaked by cancels and timeouts", figure="cancels.ours.channels", at_most=0),
    Goal(title="remote processes left by cancels and timeouts", figure="cancels.ours.processes", at_most=0),
    Goal(title="hosts unusable after cancels and timeouts", figure="cancels.ours.unusable", at_most=0),
    Goal(title="memory of 1,000 warm links", figure="links.ours.per_1000_mb", at_most=25.0, unit=" MB"),
)
