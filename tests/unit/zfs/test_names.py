"""Names of snapshots to be made, and sets of them as zfs destroy takes them."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from infrastructor.domains.zfs.names import SnapshotSet, filled, members
from infrastructor.errors import ValidationFailed

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("manual-%Y%m%d-%H%M%S", "manual-20260304-050607"),
        ("auto %Y-%m-%d %H:%M", "auto 2026-03-04 05:06"),
        ("plain", "plain"),
        ("day%j-week%V", "day063-week10"),
    ],
)
def test_the_time_is_put_in(template: str, name: str) -> None:
    assert filled(template, NOW) == name


@pytest.mark.parametrize("template", ["a@b", "a/b", "%c", "50%", "50%%", "a\n", "ü", "%", " %n", "a'b", "#x", "$(x)"])
def test_what_makes_no_name_is_refused(template: str) -> None:
    with pytest.raises(ValidationFailed):
        filled(template, NOW)


@pytest.mark.parametrize(
    ("spec", "dataset", "singles", "ranges"),
    [
        ("tank/a@x", "tank/a", ["x"], False),
        ("tank/a b@x,y z", "tank/a b", ["x", "y z"], False),
        ("tank@a%c", "tank", [], True),
        ("tank@a,%c,d%", "tank", ["a"], True),
        ("tank@%", "tank", [], True),
    ],
)
def test_a_set_is_taken_apart(spec: str, dataset: str, singles: list[str], ranges: bool) -> None:
    assert TypeAdapter(SnapshotSet).validate_python(spec) == spec
    assert members(spec) == (dataset, singles, ranges)


@pytest.mark.parametrize(
    "spec", ["tank/a", "tank@", "@x", "-r@x", "tank@x@y", "tank@x;y", "tank@a%b%c", "tank@x,", "tank@x\n", "tank#x"]
)
def test_what_is_no_set_is_refused(spec: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(SnapshotSet).validate_python(spec)
