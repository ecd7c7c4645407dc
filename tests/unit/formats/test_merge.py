"""Three versions into one."""

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.formats.merge import lines_of, merge

LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n", "\n"]), max_size=12).map("".join)
TEXTS = st.one_of(LINES, LINES.map(lambda text: text + "end"))


@given(TEXTS, TEXTS)
def test_what_only_one_side_changed_is_taken(base: str, changed: str) -> None:
    assert merge(base, changed, base).text == changed
    assert merge(base, base, changed).text == changed
    assert merge(base, changed, changed).text == changed
    assert merge(base, base, changed).conflicts == 0


@given(TEXTS, TEXTS, TEXTS)
def test_both_ways_conflict_alike(base: str, mine: str, theirs: str) -> None:
    one, other = merge(base, mine, theirs), merge(base, theirs, mine)
    assert one.conflicts == other.conflicts
    if not one.conflicts:
        assert one.text == other.text


@given(st.text(st.sampled_from("a\n\r\x0b\u2028"), max_size=20))
def test_lines_are_the_text_and_end_at_newlines_only(text: str) -> None:
    assert "".join(lines_of(text)) == text
    assert all(line.count("\n") <= 1 for line in lines_of(text))


def test_changes_in_different_places_are_both_kept() -> None:
    base = "1\n2\n3\n4\n5\n"
    merged = merge(base, base.replace("2", "two"), base.replace("4\n", "4\nmore\n"))
    assert (merged.text, merged.conflicts, merged.taken) == ("1\ntwo\n3\n4\nmore\n5\n", 0, 1)


def test_a_place_that_both_changed_shows_both() -> None:
    merged = merge("1\r\n2\r\n", "1\r\nmine\r\n", "1\r\ntheirs\r\n", names=("here", "sample"))
    assert merged.conflicts == 1
    assert merged.text == "1\r\n<<<<<<< here\r\nmine\r\n=======\r\ntheirs\r\n>>>>>>> sample\r\n"
