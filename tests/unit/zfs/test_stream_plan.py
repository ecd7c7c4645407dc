"""Which stream comes next, from what both ends have."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.zfs.replica import Point, Replica
from infrastructor.domains.zfs.stream_commands import EstimateStream, ReceiveStream, SendStream
from infrastructor.domains.zfs.stream_plan import Stream, Wish, clash, has, newest_common, next_stream, wanted_point
from infrastructor.errors import Conflict, NotFound

ALL = {"large_blocks": "enabled", "embedded_data": "active", "lz4_compress": "active", "zstd_compress": "enabled"}


def point(name: str, guid: int, txg: int, kind: str = "snapshot") -> Point:
    return Point(name=name, kind=kind, guid=str(guid), createtxg=txg)


def replica(name: str, *points: Point, features: dict[str, str] | None = None, **properties: str) -> Replica:
    return Replica(name, {"type": "filesystem", "guid": "1", **properties}, points, True, features or ALL)


S1, S2, S3 = point("tank/a@s1", 11, 1), point("tank/a@s2", 12, 2), point("tank/a@s3", 13, 3)
B2 = point("tank/a#b2", 12, 2, "bookmark")
SOURCE = replica("tank/a", S1, S2, S3)
NEW = Replica("back/a", {}, (), True, ALL)
WISH = Wish(snapshot="tank/a@s3")


def there(*points: Point) -> tuple[Point, ...]:
    """The same points at the target: other names, other times, the same GUIDs."""
    return tuple(
        replace(one, name=one.name.replace("tank", "back"), createtxg=100 + place) for place, one in enumerate(points)
    )


def line(stream: Stream) -> str:
    return SendStream.of(stream).render().text


def test_a_new_target_gets_it_whole() -> None:
    stream = next_stream(SOURCE, NEW, S3, WISH)
    assert (stream.kind, line(stream)) == ("full", "zfs send -L -c -e -- tank/a@s3")
    assert EstimateStream.of(SendStream.of(stream)).render().text == "zfs send -n -v -P -L -c -e -- tank/a@s3"


def test_with_all_in_between_the_oldest_goes_first_and_then_the_rest() -> None:
    wish = replace(WISH, intermediates=True)
    assert line(next_stream(SOURCE, NEW, S3, wish)) == "zfs send -L -c -e -- tank/a@s1"
    target = replica("back/a", *there(S1))
    assert line(next_stream(SOURCE, target, S3, wish)) == "zfs send -L -c -e -Itank/a@s1 -- tank/a@s3"


def test_it_starts_from_the_newest_that_both_have_by_guid() -> None:
    impostor = point("back/a@s2", 99, 102)  # of the same name, and not the same
    target = replica("back/a", *there(S1))
    assert line(next_stream(SOURCE, target, S3, WISH)) == "zfs send -L -c -e -itank/a@s1 -- tank/a@s3"
    assert newest_common(SOURCE, replace(target, points=(*target.points, impostor)), S3) == S1


def test_a_bookmark_will_do_but_not_for_what_is_in_between() -> None:
    source, target = replica("tank/a", S1, B2, S3), replica("back/a", *there(S1, S2))
    assert line(next_stream(source, target, S3, WISH)) == "zfs send -L -c -e '-itank/a#b2' -- tank/a@s3"
    with pytest.raises(Conflict, match="bookmark"):
        next_stream(source, target, S3, replace(WISH, intermediates=True))
    assert newest_common(replica("tank/a", S1, S2, B2, S3), target, S3) == S2


@pytest.mark.parametrize("base", ["tank/a@s1", "@s1"])
def test_a_base_may_be_named(base: str) -> None:
    target = replica("back/a", *there(S1, S2))
    wish = replace(WISH, base=base)
    assert next_stream(SOURCE, target, S3, wish).base == S1
    found = clash(SOURCE, target, S3, wish)
    assert found is not None
    assert "newer than the common @s1: @s2" in found.message


def test_a_base_that_does_not_serve_is_refused() -> None:
    target = replica("back/a", *there(S1))
    for base, error in (("@none", NotFound), ("@s3", Conflict), ("@s2", Conflict)):
        with pytest.raises(error):
            next_stream(SOURCE, target, S3, replace(WISH, base=base))
    with pytest.raises(Conflict, match="does not exist"):
        next_stream(SOURCE, NEW, S3, replace(WISH, base="@s1"))


def test_nothing_stands_in_the_way_of_what_fits() -> None:
    assert clash(SOURCE, NEW, S3, WISH) is None
    assert clash(SOURCE, replica("back/a", *there(S1)), S3, WISH) is None


@pytest.mark.parametrize(
    ("target", "said", "base"),
    [
        (replica("back/a", point("back/a@x", 99, 5)), "none of its 1 snapshots", None),
        (replica("back/a", *there(S1), point("back/a@own", 99, 500)), "1 snapshots newer than the common @s1", "@s1"),
        (replica("back/a", *there(S1), written="4096"), "4,096 bytes were written to it since @s1", "@s1"),
    ],
    ids=["nothing in common", "newer ones", "written"],
)
def test_what_a_target_would_lose_is_said(target: Replica, said: str, base: str | None) -> None:
    found = clash(SOURCE, target, S3, WISH)
    assert found is not None
    assert said in found.message
    assert (found.base.short if found.base else None) == base


def test_a_snapshot_is_there_by_its_guid() -> None:
    assert has(replica("back/a", *there(S3)), S3)
    assert not has(replica("back/a", point("back/a@s3", 99, 3)), S3)


def test_the_flags_follow_what_the_target_can_hold() -> None:
    can = {
        "-L -c -e ": ALL,
        "-c ": {"lz4_compress": "active", "zstd_compress": "enabled"},
        "-L ": {"large_blocks": "active"},
        "": {},
    }
    for flags, features in can.items():
        target = replace(NEW, features=features)
        assert line(next_stream(SOURCE, target, S3, WISH)) == f"zfs send {flags}-- tank/a@s3"
    squeezed = replace(SOURCE, features={**ALL, "zstd_compress": "active"})
    target = replace(NEW, features={"lz4_compress": "active", "zstd_compress": "disabled"})
    assert line(next_stream(squeezed, target, S3, WISH)) == "zfs send -- tank/a@s3"


class TestEncrypted:
    source = replica("tank/a", S1, S2, S3, encryption="aes-256-gcm", keystatus="unavailable")
    new = replace(NEW, features={**ALL, "encryption": "enabled"})

    def test_it_goes_raw_to_a_new_target(self) -> None:
        assert line(next_stream(self.source, self.new, S3, WISH)) == "zfs send -w -- tank/a@s3"

    def test_it_goes_on_as_it_began(self) -> None:
        raw = replica(
            "back/a", *there(S1), encryption="aes-256-gcm", encryptionroot="back/a", features=dict(self.new.features)
        )
        open_ = replica("back/a", *there(S1), encryption="off")
        loaded = replace(self.source, properties={**self.source.properties, "keystatus": "available"})
        assert next_stream(self.source, raw, S3, WISH).raw
        assert not next_stream(loaded, open_, S3, WISH).raw
        with pytest.raises(Conflict, match="key of tank/a is not loaded"):
            next_stream(self.source, open_, S3, WISH)

    def test_it_needs_its_key_or_a_pool_that_can(self) -> None:
        with pytest.raises(Conflict, match="not loaded"):
            next_stream(self.source, self.new, S3, replace(WISH, raw=False))
        with pytest.raises(Conflict, match="cannot hold encrypted data"):
            next_stream(self.source, NEW, S3, WISH)


def test_what_is_missing_is_named_with_the_newest_there_are() -> None:
    with pytest.raises(NotFound) as refused:
        wanted_point(SOURCE, "tank/a@s9", "nas")
    assert "@s3, @s2, @s1" in refused.value.hint
    with pytest.raises(NotFound, match="no dataset"):
        wanted_point(Replica("tank/b"), "tank/b@s1", "nas")


@given(
    own=st.lists(st.integers(0, 30), unique=True, max_size=12),
    theirs=st.lists(st.integers(0, 40), unique=True, max_size=12),
    intermediates=st.booleans(),
)
def test_streams_lead_to_the_snapshot_or_say_why_not(own: list[int], theirs: list[int], intermediates: bool) -> None:
    """Whatever both have: after at most two streams it is there, and nothing of the target was lost."""
    wanted = point("tank/a@wanted", 100, 100)
    source = replica("tank/a", *(point(f"tank/a@{n}", n, n) for n in sorted(own)), wanted)
    target = replica("back/a", *(point(f"back/a@{n}", n, n) for n in sorted(theirs))) if theirs else NEW
    wish = Wish(snapshot=wanted.name, intermediates=intermediates)
    before = {one.guid for one in target.points}
    if clash(source, target, wanted, wish) is not None:
        newest = max(theirs)
        assert newest not in own
        return
    for _ in range(2):
        stream = next_stream(source, target, wanted, wish)
        first = stream.base.createtxg if stream.base else -1
        sent = [one for one in source.snapshots if first < one.createtxg <= stream.snapshot.createtxg]
        got = sent if stream.intermediates else [stream.snapshot]
        assert stream.base is None or stream.base.guid == target.points[-1].guid
        target = replica("back/a", *target.points, *got)
        if has(target, wanted):
            break
    assert has(target, wanted)
    assert before <= {one.guid for one in target.points}


def test_names_are_words_whatever_they_hold() -> None:
    odd = point("tank/a b@it's -F", 5, 5)
    assert line(Stream(kind="full", snapshot=odd)) == """zfs send -- 'tank/a b@it'"'"'s -F'"""
    assert ReceiveStream(dataset="back/a -F").render().text == "zfs receive -s -u -- 'back/a -F'"
