"""nginx configuration is read whole, and comes back to the byte."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.formats.nginx import Directive, Edit, apply, decode, encode, read, shape, tokens, value_of, walk

WORDS = st.text("ab_$/.~^*\\", min_size=1, max_size=6)
QUOTED = st.text("ab ;{}#'\\n", max_size=6).map(lambda text: f'"{text}"')
PIECES = st.one_of(
    *(
        WORDS,
        QUOTED,
        st.sampled_from(["{", "}", ";", "\n", "\r\n", " ", "\t", "# c\n", "#a b;\n", "${x}", '"', "'", "\\"]),
    ),
    st.sampled_from(["x_by_lua_block {", "--[[", "]]", "\ufeff"]),
)


@given(st.lists(PIECES, max_size=40).map("".join))
def test_tokens_are_the_whole_text_in_order(text: str) -> None:
    found = list(tokens(text))
    assert "".join(text[one.start : one.end] for one in found) == text
    assert all(one.end == other.start for one, other in pairwise(found))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_and_come_back(content: bytes) -> None:
    text = decode(content)
    document = read(text)
    assert encode(apply(text, [])) == content
    assert all(0 <= one.start < one.end <= len(text) for one in walk(document.directives))


@given(st.lists(PIECES, max_size=40).map("".join))
def test_a_tree_has_its_spans_inside_each_other(text: str) -> None:
    def check(directives: tuple[Directive, ...], start: int, end: int) -> None:
        for one in directives:
            assert start <= one.start < one.end <= end
            start = one.end
            if one.block:
                check(one.block, *one.inside)

    check(read(text).directives, 0, len(text))


def test_directives_blocks_and_lines() -> None:
    document = read('server {\n  listen 443 ssl; # tls\n  location ~ "^/a{1,2}$" { return 200 "a;b\\"c"; }\n}\n')
    assert document.faults == ()
    (server,) = document.directives
    listen, location = server.block or ()
    assert (listen.name, listen.args, listen.line) == ("listen", ("443", "ssl"), 2)
    assert (location.args, location.line) == (("~", "^/a{1,2}$"), 3)
    assert (location.block or ())[0].args == ("200", 'a;b"c')


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("plain", "plain"),
        ('"a b"', "a b"),
        (r"'it\'s'", "it's"),
        (r"a\;b", r"a\;b"),
        (r'"\.php$"', r"\.php$"),
        ('""', ""),
    ],
)
def test_a_word_means_what_nginx_makes_of_it(word: str, value: str) -> None:
    assert value_of(word) == value


@pytest.mark.parametrize(
    ("comment", "off"),
    [
        ("#include /config/nginx/ldap-server.conf;", ("include", ("/config/nginx/ldap-server.conf",))),
        ('    #auth_basic "Restricted";  ', ("auth_basic", ("Restricted",))),
        ("#    listen 443 quic;", ("listen", ("443", "quic"))),
        ("# make sure that it is named so;", None),
        ("# enable for ldap auth (requires ldap-location.conf)", None),
        ("#include a; include b;", None),
        ("#include;", None),
        ("#;", None),
        ("#location / { }", None),
    ],
)
def test_a_comment_that_is_a_directive_switched_off(comment: str, off: tuple[str, tuple[str, ...]] | None) -> None:
    found = read(comment + "\nx y;").directives
    assert [one.name for one in found if not one.off] == ["x"]
    assert next(((one.name, one.args) for one in found if one.off), None) == off


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a b\n", 1, "'a' is not ended by ';'."),
        ("x y;\nserver {\n a b;\n", 2, "This block is not closed by '}'."),
        ("a b;\n}\n", 2, "Unexpected '}'."),
        (";\n", 1, "Unexpected ';'."),
        ("{ a b; }\n", 1, "Unexpected '{'."),
        ('a "b;\n', 1, "'\"b;\\n' has no end."),
        ("server {\n a b\n}\n", 2, "'a' is not ended by ';'."),
    ],
)
def test_what_nginx_refuses_is_a_fault_with_its_line(text: str, line: int, said: str) -> None:
    faults = read(text).faults
    assert (faults[0].line, faults[0].message) == (line, said)


def test_deep_nesting_ends_in_a_fault_and_not_in_the_stack() -> None:
    assert any("too deep" in fault.message for fault in read("a {" * 5000).faults)


def test_lua_is_one_piece_with_its_braces_strings_and_comments() -> None:
    text = 'location / { content_by_lua_block { t = {"}"} -- }\n --[[ } ]] say("{") } root /x; }'
    document = read(text)
    assert document.faults == ()
    assert [one.name for one in walk(document.directives)] == ["location", "content_by_lua_block", "root"]


def test_edits_replace_spans_and_nothing_else() -> None:
    text = "\ufeffa 1;\r\nb 2; # note\r\n"
    one, other = read(text).directives
    assert apply(text, [Edit(other.start, other.end, "b 3;"), Edit(one.start, one.start, "#")]) == (
        "\ufeff#a 1;\r\nb 3; # note\r\n"
    )
    with pytest.raises(ValueError, match="overlaps"):
        apply(text, [Edit(1, 4, ""), Edit(2, 3, "")])


def test_texts_that_nginx_reads_alike_have_one_shape() -> None:
    assert shape(read("a 'b' ;\n#x_y z;\nc{d e;}").directives) == shape(read('a "b";\nc {\n  d e; # f\n}\n').directives)
    assert shape(read("a b;").directives) != shape(read("a c;").directives)
