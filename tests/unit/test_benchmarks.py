"""What the benchmarks conclude from figures. Nothing is measured here."""

import pytest

from benchmarks import workloads
from benchmarks.goals import GOALS, Goal, Outcome, judge, ratio
from benchmarks.report import case_table, client_table, splice

CPU = Goal(title="cpu", figure="fan_out.ours.client_us", over="fan_out.run.client_us", at_most=1 / 9)
SPEED = Goal(title="speed", figure="fan_out.ours.ops_per_s", over="fan_out.run.ops_per_s", at_least=3.0)
LEAKS = Goal(title="leaks", figure="cancels.ours.channels", at_most=0)


@pytest.mark.parametrize(
    ("goal", "samples", "outcome", "shown"),
    [
        (CPU, {CPU.figure: [40, 50, 60], CPU.over: [600, 500, 600]}, Outcome.PASS, "1/10"),
        (CPU, {CPU.figure: [50], CPU.over: [300]}, Outcome.MISS, "1/6"),
        (CPU, {CPU.figure: [50]}, Outcome.NOT_RUN, "–"),
        (SPEED, {SPEED.figure: [300], SPEED.over: [100]}, Outcome.PASS, "3 ×"),
        (SPEED, {SPEED.figure: [299], SPEED.over: [100]}, Outcome.MISS, "2.99 ×"),
        (LEAKS, {LEAKS.figure: [0]}, Outcome.PASS, "0"),
        (LEAKS, {LEAKS.figure: [1]}, Outcome.MISS, "1"),
        (LEAKS, {}, Outcome.NOT_RUN, "–"),
    ],
)
def test_a_goal_is_met_missed_or_not_run(
    goal: Goal, samples: dict[str, list[float]], outcome: Outcome, shown: str
) -> None:
    verdict = judge(goal, samples)
    assert (verdict.outcome, verdict.shown) == (outcome, shown)


def test_ratios_are_taken_within_a_repeat_where_the_repeats_match() -> None:
    assert ratio([1, 20, 3], [2, 40, 3]) == 0.5
    assert ratio([1, 20, 3], [6]) == 0.5


def test_every_goal_reads_a_figure_of_a_workload_there_is() -> None:
    clients = {peer.name for peer in workloads.PEERS} | {"with", "without"}
    assert len({goal.title for goal in GOALS}) == len(GOALS)
    for goal in GOALS:
        for name in filter(None, (goal.figure, goal.over)):
            workload, client, _ = name.split(".")
            assert workload in workloads.NAMES
            assert client in clients


def test_a_peer_that_is_not_installed_is_named() -> None:
    absent = workloads.Peer(name="gone", title="Gone", module="no_such_module_anywhere")
    assert workloads.missing([absent, workloads.Peer(name="here", title="Here", module="json")]) == ["Gone"]


def test_the_client_table_compares_with_ours_and_leaves_out_what_nobody_has() -> None:
    samples = {"fan_out.ours.client_us": [50.0], "fan_out.run.client_us": [500.0]}
    assert client_table("fan_out", samples, {"ours": "Ours", "run": "Run", "gone": "Gone"}, {"ours": 9, "run": 9}) == (
        "| client | hosts | repeats | client µs/op | client CPU to ours |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| Ours | 9 | 1 | 50 | 1 × |\n"
        "| Run | 9 | 1 | 500 | 10 × |\n"
    )


def test_a_case_without_all_figures_is_left_out_of_the_table() -> None:
    samples = {"dead.with.last_s": [2.0, 3.0, 4.0], "dead.other.x": [1.0]}
    assert case_table("dead", samples, {"last_s": "last"}) == "| case | last |\n| --- | ---: |\n| with | 3 |\n"


def test_results_of_one_benchmark_replace_only_its_own_part() -> None:
    first = splice("# Results\n", "engine", "one")
    both = splice(first, "doors", "two")
    assert splice(both, "engine", "three \\1") == both.replace("one", "three \\1")
    parts = (
        f"<!-- {name}:start -->\n{body}\n<!-- {name}:end -->\n" for name, body in (("engine", "one"), ("doors", "two"))
    )
    assert both == "\n".join(("# Results\n", *parts))
