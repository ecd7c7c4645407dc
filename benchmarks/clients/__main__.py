"""`python -m benchmarks.clients`: one measured process.

The first line of stdin is its assignment; each further line a task `{"task": name, ...arguments}`, answered by one
line of figures. Between tasks an asyncio client's loop runs on, as its keepalives would.
"""

import asyncio
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from benchmarks.accounting import Cgroup, account
from benchmarks.clients.assignment import Assignment

ASYNC = {
    "ours": ("ours", "Ours"),
    "run": ("conn_run", "Run"),
    "run_gcm": ("conn_run", "RunGcm"),
    "raw_shell": ("raw_shell", "RawShell"),
    "raw_shell_stdout": ("raw_shell", "RawShellStdout"),
    "control_master": ("control_master", "ControlMaster"),
    "trials": ("trials", "Trials"),
    "cancels": ("cancels", "Cancels"),
}
SYNC = {
    "parallel_ssh": ("parallel_ssh", "ParallelSsh"),
    "pyinfra": ("pyinfra_facts", "PyinfraFacts"),
    "ansible": ("ansible", "Ansible"),
}


def main() -> None:
    assignment = Assignment.from_json(sys.stdin.readline())
    group = account(assignment.client_account)
    if isinstance(group, Cgroup):
        group.join()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    if assignment.client in ASYNC:
        asyncio.run(_serve_async(_load(*ASYNC[assignment.client]), assignment, answers))
    else:
        _serve(_load(*SYNC[assignment.client]), assignment, answers)
    os._exit(0)


def _load(module: str, name: str) -> Callable[[Assignment], Any]:
    factory: Callable[[Assignment], Any] = getattr(importlib.import_module(f"benchmarks.clients.{module}"), name)
    return factory


async def _serve_async(factory: Callable[[Assignment], Any], assignment: Assignment, answers: TextIO) -> None:
    client = factory(assignment)
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = json.loads(line)
        try:
            figures = await getattr(client, task.pop("task"))(**task)
        except Exception:
            figures = {"error": traceback.format_exc()}
        _answer(answers, figures)


def _serve(factory: Callable[[Assignment], Any], assignment: Assignment, answers: TextIO) -> None:
    client = factory(assignment)
    while line := sys.stdin.readline():
        task = json.loads(line)
        try:
            figures = getattr(client, task.pop("task"))(**task)
        except Exception:
            figures = {"error": traceback.format_exc()}
        _answer(answers, figures)


def _answer(answers: TextIO, figures: dict[str, Any] | None) -> None:
    answers.write(json.dumps(figures or {}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
