"""`python -m benchmarks.engine`: the SSH engine side by side with its peers, in one run on this machine.

Needs root, for a fleet of its own on loopback; see README.md. What it measures is in workloads.py, what it is held
to in goals.py.
"""

import argparse
import json
import random
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import lab, report, workloads
from benchmarks.goals import Outcome, Verdict, judge_all

PACKAGES = ("asyncssh", "cryptography", "parallel-ssh", "pyinfra", "ansible-core")
CLIENTS = {
    "fan_out": "Fan-out: ten mixed commands on each warm host",
    "sampler": "Sampler: ten /proc facts of each warm host",
    "latency": "One command after the other on one warm host",
    "connect": "Connecting, per host",
}
COSTS = {"wall_s": "wall s", "client_us": "client µs/op", "server_us": "server µs/op"}
TRIALS = {
    "dead_hosts": (
        "Cold start, with and without silent hosts",
        {"first_s": "first answer s", "last_s": "last answer s", **COSTS, "hosts": "hosts"},
    ),
    "identical": (
        "Identical requests at once",
        {"executions": "executions", **COSTS, "operations": "requests"},
    ),
    "cancels": (
        "Random cancels and timeouts",
        {
            "done": "requests",
            "cancelled": "cancelled",
            "timeout": "timed out",
            "answered": "answered",
            "other": "other ends",
            "seen": "remote processes meanwhile",
            "processes": "left after",
            "channels": "channels left",
            "unusable": "unusable hosts",
            **COSTS,
        },
    ),
    "links": (
        "Many links in one process",
        {
            "count": "links",
            "base_mb": "base MB",
            "first_link_mb": "first link MB",
            "own_mb": "all links MB",
            "rss_mb": "with file pages MB",
            "link_kb": "KB per link",
            **COSTS,
        },
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    try:
        group = lab.enter()
        fleet = lab.Fleet(group)
    except lab.LabError as error:
        print(error, file=sys.stderr)
        return 2
    _raise_file_limit()
    bench = workloads.Bench(
        fleet,
        workloads.QUICK if options.quick else workloads.FULL,
        options.seed,
        lambda text: print(f"[{time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True),
        str(options.profile.resolve()) if options.profile else None,
        tuple(peer for peer in workloads.PEERS if not options.peer or peer.name in ("ours", *options.peer)),
    )
    wanted = set(options.only or workloads.NAMES)
    workloads.run(bench, wanted)
    bench.say("done")
    verdicts = [verdict for verdict in judge_all(bench.samples) if verdict.goal.workload in wanted]
    text = _report(bench, verdicts)
    print(text)
    if options.results:
        report.write_results("engine", text)
    if options.json:
        options.json.write_text(json.dumps(_record(bench, verdicts), indent=1) + "\n")
    absent = workloads.missing(bench.peers)
    if absent and not options.allow_missing:
        print(f"Not installed: {', '.join(absent)}. Run 'uv sync --group bench' first.", file=sys.stderr)
    return 1 if bench.failures or (absent and not options.allow_missing) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer hosts and repeats, in about two minutes")
    parser.add_argument("--only", action="append", choices=workloads.NAMES, help="this workload; may be repeated")
    parser.add_argument("--peer", action="append", choices=list(workloads.TITLES), help="only ours and this peer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every repeat's figures")
    parser.add_argument("--results", action="store_true", help="write the tables into benchmarks/RESULTS.md")
    parser.add_argument("--allow-missing", action="store_true", help="do without peers that are not installed")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of the random cancels")
    parser.add_argument("--profile", metavar="FILE", type=Path, help="write the hot spots of ours in the fan-out")
    return parser


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _environment() -> dict[str, str]:
    """Date and versions: what the figures depend on."""
    found = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **lab.versions()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    return found


def _command() -> str:
    return f"python -m benchmarks.engine {shlex.join(sys.argv[1:])}".strip()


def _report(bench: workloads.Bench, verdicts: Sequence[Verdict]) -> str:
    kind = "cgroups" if bench.fleet.has_cgroups else "/proc and rusage, for lack of cgroups"
    environment = ", ".join(f"{name} {value}" for name, value in _environment().items())
    parts = [
        "## The SSH engine",
        f"`{_command()}`, seed {bench.seed}; {environment}. CPU time by {kind}. Medians of the repeats; a ratio is the "
        "median of the ratios repeat by repeat.",
        report.verdict_table(verdicts),
    ]
    for workload, title in CLIENTS.items():
        body = report.client_table(workload, bench.samples, workloads.TITLES, bench.hosts)
        parts += [f"### {title}", body] if body else []
    for workload, (title, figures) in TRIALS.items():
        body = report.case_table(workload, bench.samples, figures)
        parts += [f"### {title}", body] if body else []
    absent = [f"Not installed: {title}" for title in workloads.missing(bench.peers)]
    if bench.failures or absent:
        parts += ["### Failures", "\n".join(f"- {failure}" for failure in [*bench.failures, *absent])]
    return "\n\n".join(parts)


def _record(bench: workloads.Bench, verdicts: Sequence[Verdict]) -> dict[str, object]:
    return {
        "command": _command(),
        "seed": bench.seed,
        "environment": _environment(),
        "hosts": bench.hosts,
        "goals": [
            {
                "title": verdict.goal.title,
                "measured": verdict.measured,
                "limit": verdict.goal.limit,
                "outcome": verdict.outcome,
                "met": verdict.outcome is Outcome.PASS,
            }
            for verdict in verdicts
        ],
        "samples": bench.samples,
        "failures": bench.failures,
    }


if __name__ == "__main__":
    sys.exit(main())
