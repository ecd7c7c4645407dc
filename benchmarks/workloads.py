"""The engine's workloads. Each adds the repeats of its figures to the samples, by `workload.client.figure`."""

import importlib.util
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.lab import Fleet, dead_hosts
from benchmarks.workers import Worker, WorkerError, worker


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A client of the fan-out. `hosts` caps the fleet for those that would take too long, figures are per command."""

    name: str
    title: str
    hosts: int = 1000
    passes: int = 1  # per repeat; more for those that are done before a clock could tell
    repeats: int = 1000
    module: str | None = None  # what must be importable
    program: str | None = None


PEERS = (
    Peer(name="ours", title="Infrastructor", passes=4),
    Peer(name="raw_shell", title="raw resident shell: stdout, stderr, status", passes=4),
    Peer(name="raw_shell_stdout", title="raw resident shell: stdout and status only", passes=4),
    Peer(name="run_gcm", title="asyncssh `conn.run`, AES-GCM", module="asyncssh"),
    Peer(name="run", title="asyncssh `conn.run`, defaults", module="asyncssh"),
    Peer(name="control_master", title="OpenSSH ControlMaster, `ssh` per command", hosts=50, program="ssh"),
    Peer(name="parallel_ssh", title="parallel-ssh (libssh2)", hosts=100, module="pssh"),
    Peer(name="pyinfra", title="pyinfra facts", hosts=100, module="pyinfra"),
    Peer(name="ansible", title="ansible-playbook `command`", hosts=10, module="ansible"),
)
TITLES = {peer.name: peer.title for peer in PEERS}


@dataclass(frozen=True, kw_only=True)
class Scale:
    repeats: int = 3
    hosts: int = 200
    ansible_hosts: int = 10
    latency: int = 300
    cold_repeats: int = 5
    dead: int = 20
    identical: tuple[int, ...] = (1, 10, 100, 1000)
    cancels: int = 10_000
    cancel_seconds: float = 180.0
    links: int = 1000


FULL = Scale()
QUICK = Scale(
    hosts=60, ansible_hosts=4, latency=150, cold_repeats=3, dead=6, cancels=500, cancel_seconds=60.0, links=200
)


@dataclass
class Bench:
    fleet: Fleet
    scale: Scale
    seed: int
    say: Callable[[str], None]
    profile: str | None = None
    peers: tuple[Peer, ...] = PEERS
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    hosts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, workload: str, client: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.samples[f"{workload}.{client}.{name}"].append(value)


def missing(peers: Iterable[Peer]) -> list[str]:
    """Titles of the peers that are not installed."""
    return [
        peer.title
        for peer in peers
        if (peer.module and importlib.util.find_spec(peer.module) is None)
        or (peer.program and shutil.which(peer.program) is None)
    ]


# --- warm clients: fan-out, sampler, latency ---------------------------------------------------------


def warm(bench: Bench, wanted: set[str]) -> None:
    """Fan-out, sampler and latency, on connections made once."""
    absent = missing(bench.peers)
    peers = [peer for peer in bench.peers if peer.title not in absent and _takes_part(peer, wanted)]
    with ExitStack() as stack:
        workers: list[tuple[Peer, Worker]] = []
        for peer in peers:
            count = min(bench.scale.hosts, peer.hosts, bench.scale.ansible_hosts if peer.name == "ansible" else 1000)
            bench.hosts[peer.name] = count
            client = stack.enter_context(worker(bench.fleet, peer.name, count))
            bench.say(f"connecting {count} hosts with {peer.title}")
            if _attempt(bench, client, "connect", "connect"):
                workers.append((peer, client))
        for repeat in range(bench.scale.repeats):
            bench.say(f"repeat {repeat + 1} of {bench.scale.repeats}: {', '.join(sorted(wanted))}")
            turn = repeat % max(1, len(workers))
            for peer, client in workers[turn:] + workers[:turn]:
                _repeat(bench, peer, client, wanted)
        if bench.profile and workers and workers[0][0].name == "ours":
            bench.say("profiling the fan-out of ours")
            workers[0][1].do("profile", passes=20, path=bench.profile)


def _repeat(bench: Bench, peer: Peer, client: Worker, wanted: set[str]) -> None:
    if "fan_out" in wanted:
        _attempt(bench, client, "fan_out", "fan_out", passes=peer.passes)
    if "sampler" in wanted and peer.name in SAMPLED:
        _attempt(bench, client, "sampler", "sampler", passes=peer.passes)
    if "latency" in wanted and peer.name in TIMED:
        _attempt(bench, client, "latency", "latency", count=bench.scale.latency)


SAMPLED = ("ours", "raw_shell", "run_gcm")
TIMED = ("ours", "raw_shell", "run_gcm")


def _takes_part(peer: Peer, wanted: set[str]) -> bool:
    return "fan_out" in wanted or peer.name in (*SAMPLED, *TIMED)


def _attempt(bench: Bench, client: Worker, workload: str, task: str, **arguments: object) -> bool:
    """Add a task's figures; a peer that fails is reported and does not end the run."""
    try:
        bench.add(workload, client.client, client.do(task, **arguments))
    except WorkerError as error:
        bench.say(str(error))
        bench.failures.append(f"{workload}, {client.client}: {str(error).strip().splitlines()[-1]}")
        return False
    return True


# --- the engine's own trials -------------------------------------------------------------------------


def dead(bench: Bench) -> None:
    """Cold start of the living hosts, with and without silent ones among them."""
    count = bench.scale.dead
    with worker(bench.fleet, "trials", bench.scale.hosts - count) as client:
        client.do("cold", dead=[])  # imports, page cache
        cases: list[tuple[str, tuple[str, ...]]] = [("without", ()), ("with", dead_hosts(count))]
        for repeat in range(bench.scale.cold_repeats):
            bench.say(f"cold start {repeat + 1} of {bench.scale.cold_repeats}, with and without {count} dead hosts")
            for name, silent in cases if repeat % 2 else reversed(cases):
                bench.add("dead_hosts", name, client.do("cold", dead=list(silent)))


def identical(bench: Bench) -> None:
    """Identical concurrent requests: how often did the command run?"""
    bench.say("identical concurrent requests")
    with worker(bench.fleet, "trials", 1) as client:
        worst = 0.0
        for lane in ("fast", "slow"):
            for count in bench.scale.identical:
                figures = client.do("identical", count=count, lane=lane)
                bench.add("identical", f"{lane}-{count}", figures)
                worst = max(worst, figures["executions"], 2 - figures["executions"])
        bench.add("identical", "ours", {"executions": worst})


def cancels(bench: Bench) -> None:
    """Random cancels and timeouts: what is left?"""
    scale = bench.scale
    bench.say(f"{scale.cancels} random cancels and timeouts, seed {bench.seed}")
    with worker(bench.fleet, "cancels", 20) as client:
        figures = client.do("storm", count=scale.cancels, seed=bench.seed, seconds=scale.cancel_seconds)
        client.do("close")
        bench.add("cancels", "ours", figures)
        if figures["done"] < scale.cancels:
            bench.failures.append(f"cancels: {figures['done']:.0f} of {scale.cancels} done in time")


def links(bench: Bench) -> None:
    """Memory of many links in one process."""
    count = bench.scale.links
    bench.say(f"{count} links in one process")
    with worker(bench.fleet, "trials", 1) as client:
        client.do("links")  # the first process may have to compile what it imports, which takes heap for good
    with worker(bench.fleet, "trials", count) as client:
        figures = client.do("links")
        per_1000 = figures["first_link_mb"] + figures["link_kb"] * 999 / 1024
        bench.add("links", "ours", {**figures, "count": count, "per_1000_mb": per_1000})


WARM = ("fan_out", "sampler", "latency")
TRIALS: dict[str, Callable[[Bench], None]] = {
    "dead_hosts": dead,
    "identical": identical,
    "cancels": cancels,
    "links": links,
}
NAMES = (*WARM, *TRIALS)


def run(bench: Bench, wanted: set[str]) -> None:
    """Run the wanted workloads; one that fails is reported among the failures."""
    chosen = wanted & set(WARM)
    if chosen:
        warm(bench, chosen)
    for name, trial in TRIALS.items():
        if name in wanted:
            try:
                trial(bench)
            except WorkerError as error:
                print(error, file=sys.stderr)
                bench.failures.append(f"{name}: {str(error).strip().splitlines()[-1]}")
