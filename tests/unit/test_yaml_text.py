"""YAML edited by place: nothing else changes, and what cannot be done so is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructor.formats import compose
from infrastructor.formats.yaml_text import BOM, Branch, CannotEdit, Editor, NotYaml, Scalar, plain, read

FILE = """\
# Media.
x-common: &common
  restart: unless-stopped   # all of them

services:
  web:
    <<: *common
    image: "ghcr.io/x/y:1"  # pinned
    ports:
      - "8080:80"   # the web
      - 127.0.0.1:53:53/udp
      - target: 443
        published: 8443
    environment:
      - TZ=UTC
      - 'PUID=1000'

    volumes: [./data:/data, "/etc/localtime:/etc/localtime:ro"]
  db:
    image: postgres
    environment:
        POSTGRES_PASSWORD: 'it''s'
        PGDATA: >-
          /var/lib
          /data
"""


@pytest.mark.parametrize("form", [str, lambda t: t.replace("\n", "\r\n"), lambda t: BOM + t, lambda t: t.rstrip("\n")])
def test_edits_touch_nothing_else(form: object) -> None:
    text = form(FILE)  # type: ignore[operator]
    editor = Editor(text)
    editor.replace(("services", "web", "image"), "ghcr.io/x/y:2")
    editor.replace(("services", "web", "ports", 0), "8081:80")
    editor.replace(("services", "web", "ports", 2, "published"), "9443")
    editor.replace(("services", "web", "environment", 1), "PUID=7")
    editor.append(("services", "web", "environment"), "PGID=7")
    editor.replace(("services", "db", "environment", "POSTGRES_PASSWORD"), "that's")
    editor.add(("services", "web"), "networks", ["default", "proxy"])
    editor.add_top("networks", "proxy", {"external": "true"})
    new = editor.result()
    expected = (
        FILE.replace('"ghcr.io/x/y:1"', '"ghcr.io/x/y:2"')
        .replace('"8080:80"', '"8081:80"')
        .replace("8443", "9443")
        .replace("'PUID=1000'", "'PUID=7'\n      - PGID=7")
        .replace("'it''s'", "'that''s'")
        .replace('localtime:ro"]', 'localtime:ro"]\n    networks:\n      - default\n      - proxy')
    )
    expected = expected.rstrip("\n") + "\n\nnetworks:\n  proxy:\n    external: true\n"
    assert new == form(expected) or new == form(expected) + "\n"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("services", "web"), "x"),
        (("services", "nothing"), "x"),
        (("services", "web", "<<", "restart"), "no"),
        (("services", "db", "environment", "PGDATA"), "/x"),
        (("services", "web", "image"), "a\x00b"),
    ],
)
def test_what_cannot_be_done_by_place_is_refused(path: tuple[str, ...], value: str) -> None:
    def attempt() -> None:
        editor = Editor(FILE)
        editor.replace(path, value)
        editor.result()

    with pytest.raises(CannotEdit):
        attempt()


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "a: 1\na: 2\n",
        "--- a\n--- b\n",
        "? [a]\n: b\n",
        "a: *b\n",
        "[" * 200,
        "[" * 200_000,
        "- " * 200_000,
        "{a: " * 200_000,
    ],
)
def test_what_is_no_yaml_is_said_so(text: str) -> None:
    with pytest.raises(NotYaml):
        read(text)


def test_a_document_of_itself_ends() -> None:
    document = read("a: &a [*a, 1]\n")
    assert [leaf.value for _, leaf in document.walk()] == ["1"]


def test_ports_paths_and_variables_are_found_where_they_stand() -> None:
    document = read(FILE)
    found = [(one.port, one.protocol, one.ip, one.with_port(1)) for one in compose.ports(document, "web")]
    assert found == [
        (8080, "tcp", None, "1:80"),
        (53, "udp", "127.0.0.1", "127.0.0.1:1:53/udp"),
        (8443, "tcp", None, "1"),
    ]
    assert [bind.with_source("/x") for bind in compose.binds(document, "web")] == ["/x:/data", "/x:/etc/localtime:ro"]
    assert compose.environment(document, "web")["PUID"] == (("services", "web", "environment", 1), "1000")
    assert list(compose.services(document)) == ["web", "db"]


values = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
trees = st.dictionaries(
    st.text("abcdefgh-_ ", min_size=1, max_size=8),
    st.one_of(values, st.lists(values, min_size=1, max_size=4)),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(trees, values, st.data())
def test_any_value_of_any_tree_can_be_replaced(
    tree: dict[str, str | list[str]], value: str, data: st.DataObject
) -> None:
    import yaml

    text = yaml.safe_dump({"services": tree}, allow_unicode=True, sort_keys=False)
    document = read(text)
    leaves = [(path, leaf) for path, leaf in document.walk() if leaf.style not in {"|", ">"}]
    path, leaf = data.draw(st.sampled_from(leaves))
    editor = Editor(text)
    try:
        editor.replace(path, value)
        new = editor.result()
    except CannotEdit:
        return
    assert (new[: leaf.start], new[len(new) - len(text) + leaf.end :]) == (text[: leaf.start], text[leaf.end :])
    changed = read(new).at(path)
    assert isinstance(changed, Scalar)
    assert changed.value == value


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_reading_anything_ends_in_a_tree_or_an_error(text: str) -> None:
    try:
        document = read(text)
    except NotYaml:
        return
    assert document.root is None or isinstance(document.root, Scalar | Branch)
    plain(document.root)
