"""Figures as Markdown, and RESULTS.md with a marked part for each benchmark. Pure but for `write_results`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.goals import Samples, Verdict, ratio

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nMeasured figures; each part is written by the benchmark it names (see README.md).\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are figures, so they stand to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    rows = [[verdict.goal.title, verdict.shown, verdict.goal.limit, verdict.outcome] for verdict in verdicts]
    return table(("goal", "measured", "limit", "outcome"), rows)


def client_table(workload: str, samples: Samples, titles: Mapping[str, str], hosts: Mapping[str, int]) -> str:
    """Medians of each client of a workload, and its client CPU in terms of ours."""
    rows = []
    for name, title in titles.items():
        cpu = samples.get(f"{workload}.{name}.client_us")
        if not cpu:
            continue
        ours = samples.get(f"{workload}.ours.client_us")
        medians = [
            _number(samples.get(f"{workload}.{name}.{figure}"))
            for figure in ("client_us", "server_us", "ops_per_s", "wall_s", "p50_ms", "p99_ms", "peak_mb")
        ]
        times = f"{ratio(cpu, ours):.3g} ×" if ours else "–"
        rows.append([title, str(hosts.get(name, "–")), str(len(cpu)), *medians, times])
    header = (
        "client",
        "hosts",
        "repeats",
        "client µs/op",
        "server µs/op",
        "op/s",
        "wall s",
        "p50 ms",
        "p99 ms",
        "peak MB",
        "client CPU to ours",
    )
    return table(*_without_empty(header, rows)) if rows else ""


def case_table(workload: str, samples: Samples, figures: Mapping[str, str]) -> str:
    """Medians of the named figures (name: heading) for each case of a workload."""
    cases = dict.fromkeys(name.split(".")[1] for name in samples if name.startswith(f"{workload}."))
    rows = []
    for case in cases:
        values = [samples.get(f"{workload}.{case}.{figure}") for figure in figures]
        if all(values):
            rows.append([case, *map(_number, values)])
    return table(("case", *figures.values()), rows) if rows else ""


def splice(document: str, name: str, body: str) -> str:
    """The document with the part between `<!-- name:start -->` and `<!-- name:end -->` replaced, or added."""
    part = f"<!-- {name}:start -->\n{body.strip()}\n<!-- {name}:end -->"
    marked = re.compile(rf"<!-- {re.escape(name)}:start -->.*?<!-- {re.escape(name)}:end -->", re.DOTALL)
    if marked.search(document):
        return marked.sub(lambda _: part, document, count=1)
    return f"{document.rstrip()}\n\n{part}\n"


def write_results(name: str, body: str, path: Path = RESULTS) -> None:
    document = path.read_text() if path.exists() else HEAD
    path.write_text(splice(document, name, body))


def _without_empty(header: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out columns in which no row has a figure."""
    kept = [column for column in range(len(header)) if any(row[column] != "–" for row in rows)]
    return [header[column] for column in kept], [[row[column] for column in kept] for row in rows]


def _number(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    value = median(values)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
