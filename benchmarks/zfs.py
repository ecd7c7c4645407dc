"""`python -m benchmarks.zfs`: 2,000 datasets and 50,000 snapshots listed, parsed and answered.

The listings are made of recorded lines, so they have the form that OpenZFS prints. Each repeat is a process of its own:
the operations run through the service with stores in memory, and CPU and memory are those of the process from the
moment the first byte of a listing is there. No device and no network are part of it.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.goals import Goal, judge_all

DATASETS, SNAPSHOTS = 2_000, 50_000
FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "zfs"
MB = 1024 * 1024

GOALS = (
    Goal(title="list and parse both: our CPU", figure="zfs.both.cpu_s", at_most=1.0, unit=" s"),
    Goal(
        title="list and parse both: memory of the whole process", figure="zfs.both.peak_mb", at_most=150.0, unit=" MB"
    ),
    Goal(title="default answer of `zfs_dataset_list`", figure="zfs.datasets.characters", at_most=40_000),
    Goal(title="default answer of `zfs_snapshot_list`", figure="zfs.snapshots.characters", at_most=40_000),
    Goal(title="longest page of `zfs_snapshot_list`", figure="zfs.snapshots.longest", at_most=40_000),
    Goal(title="default answer of `zfs_health_check`", figure="zfs.health.characters", at_most=40_000),
    Goal(title="default answer of `zfs_report`", figure="zfs.report.characters", at_most=40_000),
)
CASES = {
    "cpu_s": "CPU s", "rise_mb": "MB on top", "peak_mb": "peak MB", "characters": "characters", "input_mb": "MB read",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--results", action="store_true", help="write the tables into RESULTS.md")
    parser.add_argument("--one", type=Path, help="one repeat over listings in a folder, as JSON: what the repeats run")
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(asyncio.run(measure(options.one))))
        return 0
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="infrastructor-bench-") as folder:
        (Path(folder) / "datasets").write_bytes(dataset_lines())
        (Path(folder) / "snapshots").write_bytes(snapshot_lines())
        for _ in range(options.repeats):
            command = [sys.executable, "-m", "benchmarks.zfs", "--one", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for name, value in json.loads(done.stdout).items():
                samples.setdefault(name, []).append(value)
    text = describe(samples, options.repeats)
    print(text)
    if options.results:
        report.write_results("zfs", text)
    return 0


def describe(samples: dict[str, list[float]], repeats: int) -> str:
    verdicts = judge_all(samples, GOALS)
    return "\n".join(
        [
            "## ZFS",
            "",
            f"`python -m benchmarks.zfs --repeats {repeats}`, {datetime.now(UTC):%Y-%m-%d}, Python "
            f"{sys.version.split()[0]}: {DATASETS:,} datasets and {SNAPSHOTS:,} snapshots.",
            "",
            report.verdict_table(verdicts),
            report.case_table("zfs", samples, CASES),
        ]
    )


def dataset_lines() -> bytes:
    """Recorded rows under other names, so many that there are enough."""
    rows = [line.split("\t") for line in (FIXTURES / "ListDatasets/zfs-2.1.11-composed.out").read_text().splitlines()]
    made = (rows[n % len(rows)] for n in range(DATASETS))
    return "".join("\t".join([f"tank/data/set{n:05}", *row[1:]]) + "\n" for n, row in enumerate(made)).encode()


def snapshot_lines() -> bytes:
    rows = [line.split("\t") for line in (FIXTURES / "ListSnapshots/zfs-2.1.11-composed.out").read_text().splitlines()]
    each = SNAPSHOTS // DATASETS
    lines = []
    for n in range(SNAPSHOTS):
        row = rows[n % len(rows)]
        name = f"tank/data/set{n // each:05}@autosnap_2026-11-20_{n % each:02}:00:01_hourly"
        lines.append("\t".join([name, str(1795187160 + 3600 * (n % each)), *row[2:6], str(10**18 + n), row[7]]) + "\n")
    return "".join(lines).encode()


async def measure(folder: Path) -> dict[str, float]:
    """The figures of one process."""
    from pydantic_core import to_json

    from tests.unit.zfs.machine import ask, healthy

    await ask(healthy(), "zfs_report")  # what is made at the first use of anything
    figures: dict[str, float] = {}
    start, peak = time.process_time(), _peak_mb()
    datasets, snapshots = ((folder / name).read_bytes() for name in ("datasets", "snapshots"))
    ssh = healthy(ListDatasets=datasets, ListSnapshots=snapshots)
    size = (len(datasets) + len(snapshots)) / MB

    async def run(name: str, read: float, operation: str, **arguments: Any) -> None:
        begin = time.process_time()
        answer = await ask(ssh, operation, **arguments)
        figures[f"zfs.{name}.cpu_s"] = time.process_time() - begin
        figures[f"zfs.{name}.rise_mb"] = _peak_mb() - peak
        figures[f"zfs.{name}.peak_mb"] = _peak_mb()
        figures[f"zfs.{name}.characters"] = len(to_json(answer))
        figures[f"zfs.{name}.input_mb"] = read

    await run("datasets", len(datasets) / MB, "zfs_dataset_list")
    await run("snapshots", len(snapshots) / MB, "zfs_snapshot_list")
    figures |= {
        "zfs.both.cpu_s": time.process_time() - start,
        "zfs.both.rise_mb": _peak_mb() - peak,
        "zfs.both.peak_mb": _peak_mb(),
        "zfs.both.characters": max(figures["zfs.datasets.characters"], figures["zfs.snapshots.characters"]),
        "zfs.both.input_mb": size,
    }
    figures["zfs.snapshots.longest"] = len(to_json(await ask(ssh, "zfs_snapshot_list", limit=500, cursor="20000")))
    await run("health", size, "zfs_health_check")
    await run("report", size, "zfs_report")
    return figures


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
