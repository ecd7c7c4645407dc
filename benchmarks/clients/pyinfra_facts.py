"""pyinfra's facts: one fact on all hosts, then the next."""

from gevent import monkey

monkey.patch_all()

from pyinfra.api import Config, FactBase, Inventory, State  # noqa: E402 (gevent must patch first)
from pyinfra.api.connect import connect_all  # noqa: E402
from pyinfra.api.facts import get_facts  # noqa: E402

from benchmarks.clients.assignment import COMMANDS, CONCURRENCY, Assignment, Figures, Meter  # noqa: E402


class Output(FactBase[list[str]]):
    """The lines a command prints."""

    def command(self, text: str) -> str:
        return text

    def process(self, output: list[str]) -> list[str]:
        return output


class PyinfraFacts:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        data = {
            "ssh_user": assignment.user,
            "ssh_port": assignment.port,
            "ssh_key": assignment.key,
            "ssh_known_hosts_file": "/dev/null",
            "ssh_strict_host_key_checking": "off",
        }
        inventory = Inventory((list(assignment.hosts), data))
        self._state = State(inventory, Config(PARALLEL=CONCURRENCY, CONNECT_TIMEOUT=60))

    def connect(self) -> Figures:
        meter = Meter(self._assignment)
        connect_all(self._state)
        self._fact("uptime")
        return meter.stop(len(self._assignment.hosts))

    def fan_out(self, passes: int) -> Figures:
        meter = Meter(self._assignment)
        for _ in range(passes):
            for command in COMMANDS:
                self._fact(command)
        return meter.stop(passes * len(COMMANDS) * len(self._assignment.hosts))

    def _fact(self, command: str) -> None:
        facts = get_facts(self._state, Output, kwargs={"text": command})
        if len(facts) != len(self._assignment.hosts) or not all(facts.values()):
            raise RuntimeError(f"{command}: {len(facts)} hosts answered")
