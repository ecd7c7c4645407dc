"""What an audit record keeps of many command lines."""

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.storage.audit_commands import ALIKE, COMMANDS, commands_kept


def container(number: int) -> str:
    return f"engine GET /containers/{number:064x}/json"


def test_reads_that_differ_only_in_an_id_are_a_few_and_a_count() -> None:
    lines = ["engine GET /containers/json?all=true", *(container(n) for n in range(500)), "ReadSockets"]
    assert commands_kept(lines, ()) == [
        "engine GET /containers/json?all=true",
        *(container(n) for n in range(ALIKE)),
        "… and 497 more like this: engine GET /containers/*/json",
        "ReadSockets",
    ]


def test_names_count_as_ids_in_the_engines_api_only() -> None:
    asked = [f"engine GET /containers/web-{n}/json" for n in range(9)]
    assert len(commands_kept(asked, ())) == ALIKE + 1
    ran = [f"smartctl --json -a /dev/sd{letter}" for letter in "abcdefghi"]
    assert commands_kept(ran, ()) == ran


def test_a_few_alike_are_all_kept() -> None:
    lines = [container(n) for n in range(ALIKE + 1)]
    assert commands_kept(lines, ()) == lines


def test_a_line_that_changes_something_is_never_dropped() -> None:
    lines = [f"docker rm -- {n:064x}" for n in range(1000)] + [f"read {n}" for n in range(1000)]
    kept = commands_kept(lines, range(1000))
    assert kept == [*lines[:1000], "… and 1000 more"]


def test_very_many_changes_are_cut_and_not_dropped() -> None:
    lines = [f"change {n} {'x' * 4000}" for n in range(3000)]
    kept = commands_kept(lines, range(3000))
    assert [line.split()[1] for line in kept] == [str(n) for n in range(3000)]
    assert sum(map(len, kept)) < 500_000


def test_secrets_are_masked_before_anything_is_cut() -> None:
    line = f"mysql {'x' * 4050} -p{'hunter2' * 1000} after"
    (kept,) = commands_kept([line], (0,))
    assert "hunter2" not in kept
    assert "after" not in kept
    assert kept.endswith(f"({len(line)} chars)")


@given(
    st.lists(
        st.sampled_from(["a", "b", "", container(1), container(2), "mysql -px"]) | st.text(max_size=3), max_size=300
    ),
    st.sets(st.integers(0, 320)),
)
def test_every_line_is_shown_or_counted(lines: list[str], changes: set[int]) -> None:
    kept = commands_kept(lines, changes)
    real = changes & set(range(len(lines)))
    counted = sum(int(line.split()[2]) for line in kept if line.startswith("… and "))
    shown = [line for line in kept if not line.startswith("… and ")]
    assert len(shown) + counted == len(lines)
    assert len(shown) >= len(real)
    assert len(shown) <= max(COMMANDS, len(real))
