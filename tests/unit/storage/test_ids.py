import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infrastructor.ids import uuid7


def test_ids_are_version_7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 1


def test_ids_grow_and_never_repeat_over_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: [uuid7() for _ in range(5000)], range(4)))
    for batch in batches:
        assert batch == sorted(batch)
    assert len({one for batch in batches for one in batch}) == 20_000


def test_ids_grow_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = uuid7()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert uuid7() > first
