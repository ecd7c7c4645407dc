"""Record what the commands and queries of the catalogue bring: `python tests/record_fixtures.py MACHINE [SHELL…]`.

Runs each command through the given shell (default `sh -c`; `chroot DIR sh -c` records another system), and writes
`tests/fixtures/<domain>/<Command>/<MACHINE>.out` for those that worked. With `unix:PATH` instead of a shell it asks the
container engine at that socket the queries. A command or query whose fields have no defaults is recorded where
`<MACHINE>.params.json` already says their values. `--only NAME,…` leaves the others alone.
"""

import dataclasses
import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from infrastructor.catalog import CATALOG
from infrastructor.command import Command
from infrastructor.engine import EngineQuery

FIXTURES = Path(__file__).parent / "fixtures"


def record(machine: str, place: list[str], only: set[str]) -> None:
    engine = place[0].removeprefix("unix:") if place[0].startswith("unix:") else None
    for operation in CATALOG:
        for asked in operation.queries if engine else operation.commands:
            folder = FIXTURES / asked.__module__.split(".")[2] / asked.__name__
            given = folder / f"{machine}.params.json"
            fields = json.loads(given.read_text()) if given.exists() else {}
            missing = [f.name for f in dataclasses.fields(asked) if f.default is dataclasses.MISSING]
            if (only and asked.__name__ not in only) or set(missing) - set(fields):
                continue
            fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
            got = _ask(asked(**fields), engine) if engine else _run(asked(**fields), place)
            if got is None:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            for suffix, content in got.items():
                (folder / f"{machine}{suffix}").write_bytes(content)


def _run(command: Command[Any], shell: list[str]) -> dict[str, bytes] | None:
    line = command.render()
    done = subprocess.run([*shell, line.text], check=False, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    if done.returncode not in command.ok_statuses or not (done.stdout or done.stderr):
        said = done.stderr.decode(errors="replace")[:200]
        print(f"{type(command).__name__}: status {done.returncode}, {said!r}")
        return None
    got = {".out": done.stdout}
    if done.returncode:
        got[".rc"] = str(done.returncode).encode()
    return got | ({".err": done.stderr} if done.stderr else {})


def _ask(query: EngineQuery[Any], path: str) -> dict[str, bytes] | None:
    connection = http.client.HTTPConnection("engine")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request("GET", query.render().target)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    if reply.status != 200:
        print(f"{type(query).__name__}: HTTP {reply.status}, {body[:200]!r}")
        return None
    return {".out": body}


if __name__ == "__main__":
    words = sys.argv[1:]
    chosen = set(words.pop(words.index("--only") + 1).split(",")) if "--only" in words else set()
    words = [word for word in words if word != "--only"]
    record(words[0], words[1:] or ["sh", "-c"], chosen)
