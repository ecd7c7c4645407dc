"""What is stored is what is there, whatever was killed meanwhile: connection, agent, server, database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

OPERATIONS, KILLS = int(os.environ.get("UPHEAVAL_OPERATIONS", "10000")), int(os.environ.get("UPHEAVAL_KILLS", "24"))


def run(data_dir: Path, *options: str) -> dict[str, Any]:
    command = [
        *(sys.executable, "-m", "tests.support.upheaval", "--data-dir", str(data_dir)),
        *("--operations", str(OPERATIONS), "--kills", str(KILLS), *options),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(900)
def test_no_final_state_is_wrong_missing_or_made_up(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found["operations"] == OPERATIONS
    assert sum(found["kills"].values()) >= KILLS // 2
    assert found["files"] > 20
    assert found["versions"] > found["files"]  # not only the end was seen
    bad = {name: found[name] for name in ("wrong", "missing", "ghosts", "phantoms", "contents_lost")}
    assert bad == dict.fromkeys(bad, 0), found
