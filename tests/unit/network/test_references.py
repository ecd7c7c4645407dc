"""Hosts in environments: found where they are, and nothing else of a value is kept."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructor.domains.network.references import references


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DB_HOST=db", ["DB_HOST=db"]),
        ("DB_HOST=db:5432", ["DB_HOST=db:5432"]),
        ("DATABASE_URL=postgres://u:p%40ss@db:5432/app", ["DATABASE_URL=db:5432"]),
        ("DATABASE_URL=postgres://u:p@ss@db/app", ["DATABASE_URL=db"]),
        ("MONGO=mongodb://u:p@m1:27017,m2:27017/x?replicaSet=r", ["MONGO=m1:27017", "MONGO=m2:27017"]),
        ("KAFKA_BROKERS=k1:9092,k2:9092", ["KAFKA_BROKERS=k1:9092", "KAFKA_BROKERS=k2:9092"]),
        ("DSN=u:secret@tcp(mysql:3306)/app?x=1", ["DSN=mysql:3306"]),
        ("CONN=Server=sql;Database=x;Password=y", ["CONN=sql"]),
        ("PG=host=pg port=5432 password=x", ["PG=pg"]),
        ("API=http://[fd00::1]:8080/x", ["API=[fd00::1]:8080"]),
        ("POSTGRES_PASSWORD=postgres", []),
        ("API_KEY=web:8080", []),
        ("TOKEN_URL=https://auth:9000/token", ["TOKEN_URL=auth:9000"]),
        ("DB_USER=postgres", []),
        ("PATH=/usr/bin:/bin", []),
        ("TZ=Europe/Berlin", []),
        ("DEBUG_SERVER=true", []),
        ("no equals", []),
    ],
)
def test_a_variable_names_these_hosts(line: str, expected: list[str]) -> None:
    assert [found.text for found in references([line])] == expected


@given(st.text(string.ascii_letters + string.digits, min_size=8, max_size=30), st.sampled_from(["u", "user.name", ""]))
def test_a_password_in_a_url_never_comes_along(secret: str, user: str) -> None:
    found = references([f"URL=amqp://{user}:{secret}@queue:5672/v", f"DB_PASSWORD={secret}", f"SECRET_HOST={secret}"])
    assert [(one.host, one.port) for one in found] == [("queue", 5672)]


@given(st.lists(st.text(max_size=200), max_size=60))
def test_any_environment_is_read_and_bounded(lines: list[str]) -> None:
    assert len(references(lines)) <= 40
