"""parallel-ssh on libssh2: one command on all hosts, then the next."""

from pssh.clients import ParallelSSHClient

from benchmarks.clients.assignment import COMMANDS, CONCURRENCY, Assignment, Figures, Meter


class ParallelSsh:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._client = ParallelSSHClient(
            list(assignment.hosts),
            user=assignment.user,
            port=assignment.port,
            pkey=assignment.key,
            allow_agent=False,
            identity_auth=False,
            pool_size=CONCURRENCY,
        )

    def connect(self) -> Figures:
        meter = Meter(self._assignment)
        self._run("uptime")
        return meter.stop(len(self._assignment.hosts))

    def fan_out(self, passes: int) -> Figures:
        meter = Meter(self._assignment)
        for _ in range(passes):
            for command in COMMANDS:
                self._run(command)
        return meter.stop(passes * len(COMMANDS) * len(self._assignment.hosts))

    def _run(self, command: str) -> None:
        outputs = self._client.run_command(command, stop_on_errors=True)
        self._client.join(outputs)
        for output in outputs:
            text, _ = "\n".join(output.stdout), "\n".join(output.stderr)
            if output.exit_code or not text:
                raise RuntimeError(f"{command} on {output.host}: status {output.exit_code}")
