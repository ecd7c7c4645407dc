"""No acknowledged record is lost, none is doubled, however our processes and PostgreSQL die."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

KILLS = int(os.environ.get("KILLS", "60"))


async def harass(data_dir: Path, kills: int, *options: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.kill9", "--data-dir", str(data_dir), "--kills", str(kills), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    result: dict[str, Any] = json.loads(out)
    print(result)
    return result


CLEAN = {
    "acknowledged_but_lost": 0,
    "executed_without_record": 0,
    "doubled": 0,
    "still_open": 0,
    "files_left": [],
}


@pytest.mark.timeout(60 + KILLS)
@pytest.mark.parametrize("options", [(), ("--faults",)], ids=["writers", "writers and PostgreSQL"])
async def test_kill_9_loses_and_doubles_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    result = await harass(tmp_path, KILLS // (2 if options else 1), *options)
    assert {name: result[name] for name in CLEAN} == CLEAN
    assert result["acknowledged"] > KILLS * 5
    assert result["in_doubt"] > 0, "no worker was killed in the middle: the test proves nothing"


async def test_the_check_notices_a_record_acknowledged_too_early(tmp_path: Path) -> None:
    result = await harass(tmp_path, 15, "--seeded-bug")
    assert result["acknowledged_but_lost"] > 0
