"""Record what the commands of the catalogue print: `python tests/record_fixtures.py MACHINE [SHELL…]`.

Runs each command whose slots all have defaults through the given shell (default `sh -c`; `chroot DIR sh -c`
records another system), and writes `tests/fixtures/<domain>/<Command>/<MACHINE>.out` for those that worked.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path

from infrastructor.catalog import CATALOG

FIXTURES = Path(__file__).parent / "fixtures"


def record(machine: str, shell: list[str]) -> None:
    for operation in CATALOG:
        for command in operation.commands:
            if any(field.default is dataclasses.MISSING for field in dataclasses.fields(command)):
                continue
            domain = command.__module__.split(".")[2]
            line = command().render()
            done = subprocess.run(
                [*shell, line.text], check=False, capture_output=True, timeout=60, stdin=subprocess.DEVNULL
            )
            if done.returncode not in command.ok_statuses or not done.stdout:
                print(f"{command.__name__}: status {done.returncode}, {done.stderr.decode(errors='replace')[:200]!r}")
                continue
            folder = FIXTURES / domain / command.__name__
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{machine}.out").write_bytes(done.stdout)


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2:] or ["sh", "-c"])
