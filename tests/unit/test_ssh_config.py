"""An ssh_config is read as OpenSSH would, and nothing in it runs."""

import textwrap

from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.devices.ssh_config import parse


def config(text: str) -> str:
    return textwrap.dedent(text)


def test_the_first_value_found_wins() -> None:
    parsed = parse(
        config("""
        Host nas
            HostName 192.168.1.10
            User admin
            Port=2222
        Host nas web
            User other
        Host *
            User fallback
            IdentityFile "~/.ssh/my key"
        """)
    )
    nas, web = parsed.entries
    assert (nas.hostname, nas.user, nas.port, nas.identity_file) == ("192.168.1.10", "admin", 2222, "~/.ssh/my key")
    assert (web.hostname, web.user, web.port) == ("web", "other", None)


def test_negated_patterns_take_hosts_out() -> None:
    parsed = parse("Host a b\nHost * !b\n  User everyone\n")
    assert [(entry.name, entry.user) for entry in parsed.entries] == [("a", "everyone"), ("b", None)]


def test_patterns_and_match_are_reported_not_imported() -> None:
    parsed = parse('Host web-*\n  User x\nMatch exec "touch /tmp/pwned"\n  User y\nHost ok\n')
    assert [entry.name for entry in parsed.entries] == ["ok"]
    assert [skipped.line for skipped in parsed.skipped] == [3, 1]
    assert parsed.entries[0].user is None


def test_match_all_holds_for_every_host() -> None:
    assert parse("Host a\nMatch all\n  User everyone\n").entries[0].user == "everyone"


def test_proxy_command_is_kept_as_text_to_be_refused() -> None:
    parsed = parse("Host a\n  ProxyCommand nc -x proxy %h %p\nHost b\n  ProxyJump none\n")
    assert parsed.entries[0].proxy_command == "nc -x proxy %h %p"
    assert parsed.entries[1].proxy_jump is None


def test_an_include_is_read_where_it_stands() -> None:
    files = {"conf.d/*": ["Host one\n  User first\n", "Host two\n"]}
    parsed = parse("Include conf.d/*\nHost one\n  User second\n", lambda pattern: files[pattern])
    assert [(entry.name, entry.user) for entry in parsed.entries] == [("one", "first"), ("two", None)]


def test_an_include_of_itself_ends() -> None:
    assert parse("Include me\n", lambda pattern: ["Include me\nHost a\n"]).entries[0].name == "a"


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parsed = parse(f"Host a\n{text}")
    assert parsed.entries
