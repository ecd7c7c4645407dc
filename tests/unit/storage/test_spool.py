import json
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.storage.spool import Spool
from infrastructor.storage.spooler import latest
from infrastructor.storage.writers import SpoolDirectory


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["started", "ok", "refused"])), max_size=30))
def test_a_batch_has_one_line_a_record_and_its_first_outcome_wins(events: list[tuple[int, str]]) -> None:
    lines = [json.dumps({"operation_id": str(one), "outcome": outcome}) for one, outcome in events]
    merged = {record["operation_id"]: record["outcome"] for record in map(json.loads, latest(lines))}
    assert len(merged) == len(latest(lines)) == len({one for one, _ in events})
    for one, outcome in merged.items():
        finals = [seen for number, seen in events if str(number) == one and seen != "started"]
        assert outcome == (finals[0] if finals else "started")


def test_lines_come_out_in_order_until_they_are_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.db")
    spool.append(["1", "2"])
    spool.append(["3"])
    rows = spool.first(2)
    assert [line for _, line in rows] == ["1", "2"]
    spool.remove(rows[-1][0])
    assert [line for _, line in spool.first(9)] == ["3"]
    spool.close()
    again = Spool(tmp_path / "a.db")
    assert again.count() == 1
    again.remove(again.first(1)[0][0])
    again.close()
    assert list(tmp_path.iterdir()) == [], "an empty spool leaves no file"


def test_a_full_spool_keeps_what_it_has_and_takes_a_batch_whole_or_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.db", max_bytes=40 << 10)
    spool.append(["x" * 1000])
    with pytest.raises(sqlite3.Error, match="full"):
        spool.append(["y" * 1000] * 100)
    assert spool.count() == 1
    spool.close()


def test_it_is_synced_at_every_commit(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.db")
    assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    spool.close()


def test_what_was_refused_for_ever_is_kept_for_a_person(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.db")
    spool.reject("line", "reason")
    spool.close()
    assert (tmp_path / "a.db").stat().st_mode & 0o777 == 0o600


def test_a_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    one, two = SpoolDirectory(tmp_path), SpoolDirectory(tmp_path)
    assert one.id == two.id
    assert list(one.writers()) == [two.writer_id]
    assert not one.claim(two.writer_id)
    pid = os.fork()
    if pid == 0:
        orphan = SpoolDirectory(tmp_path)
        orphan.spool_file(1).touch()
        os._exit(0)
    os.waitpid(pid, 0)
    (dead,) = {writer for writer in one.writers() if one.claim(writer)}
    assert not two.claim(dead), "one heir only"
    one.spools_of(dead)[0].unlink()
    one.release(dead)
    one.close()
    two.close()
    assert [path.name for path in tmp_path.iterdir()] == ["id"]
