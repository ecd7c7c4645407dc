"""ansible-playbook with the `command` module, pipelining and ControlPersist on.

Its start and its inventory are not counted: a playbook without tasks is measured too and taken off.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.clients.assignment import COMMANDS, Assignment, Figures, Meter, clean_environment

CONFIG = """\
[defaults]
forks = 50
host_key_checking = false
gathering = explicit
deprecation_warnings = false
[connection]
pipelining = true
[ssh_connection]
pipelining = true
ssh_args = -o ControlMaster=auto -o ControlPersist=600 -o UserKnownHostsFile=/dev/null
control_path = {folder}/a-%%C
"""


class Ansible:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._folder = Path(assignment.folder)
        self._program = Path(sys.executable).with_name("ansible-playbook")
        (self._folder / "ansible.cfg").write_text(CONFIG.format(folder=self._folder))
        login = {
            "ansible_user": assignment.user,
            "ansible_port": assignment.port,
            "ansible_ssh_private_key_file": assignment.key,
            "ansible_python_interpreter": _system_python(),
        }
        inventory = {"all": {"hosts": dict.fromkeys(assignment.hosts), "vars": login}}
        (self._folder / "inventory.json").write_text(json.dumps(inventory))
        self._write("nothing", [])
        self._write("connect", [{"ansible.builtin.raw": "true"}])
        self._write("commands", [{"ansible.builtin.command": command} for command in COMMANDS])
        self._environment = {
            **clean_environment(),
            "ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._folder / "ansible"),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{self._program.parent}:{os.environ['PATH']}",
        }

    def connect(self) -> Figures:
        meter = Meter(self._assignment)
        self._play("connect")
        return meter.stop(len(self._assignment.hosts))

    def fan_out(self, passes: int) -> Figures:
        operations = passes * len(COMMANDS) * len(self._assignment.hosts)
        start = Meter(self._assignment)
        self._play("nothing")
        base = start.stop(operations)
        meter = Meter(self._assignment)
        for _ in range(passes):
            self._play("commands")
        figures = meter.stop(operations)
        wall_s = max(figures["wall_s"] - passes * base["wall_s"], 1e-3)
        return {
            **figures,
            "wall_s": wall_s,
            "client_us": figures["client_us"] - passes * base["client_us"],
            "ops_per_s": operations / wall_s,
        }

    def _write(self, name: str, tasks: list[dict[str, str]]) -> None:
        play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (self._folder / f"{name}.yml").write_text(json.dumps(play))

    def _play(self, name: str) -> None:
        command = [str(self._program), "-i", str(self._folder / "inventory.json"), str(self._folder / f"{name}.yml")]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _system_python() -> str:
    """A Python the hosts' login may run."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if Path(path).exists():
            return path
    return "python3"
