"""Searching the texts of the configuration history: the current ones by index, older ones by reading them."""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError, ValidationFailed
from infrastructor.snapshot_store import SearchHit, SearchResult
from infrastructor.storage import sql
from infrastructor.storage.contents import Contents, in_thread
from infrastructor.storage.pool import Database, sqlstate_of
from infrastructor.storage.rows import snapshot
from infrastructor.storage.texts import literal_grams, masked_text, pattern_grams, plain_text, required
from infrastructor.storage.versions import storable

SQL = sql.load("search")
_COLUMNS = sql.load("snapshots")["snapshot"].partition("\n")[2]
MAX_SECONDS = 10.0
MAX_LINE = 2000  # letters of a line that are told
FILES_A_TURN = 20
LINES_A_TURN = 5000
BYTES_A_SLICE = 16 << 20
_QUERY_CANCELED, _INVALID_PATTERN = "57014", "2201B"
_OPTIONS = re.compile(r"\*\*\*|\(\?[a-z]+\)")

Found = tuple[Any, int, str]  # a version, and the line
Told = tuple[UUID, str, str]  # of which device and file a line was told already


class Search:
    """In the texts and contents of the store."""

    def __init__(self, database: Database, contents: Contents, *, max_seconds: float = MAX_SECONDS) -> None:
        self._database = database
        self._contents = contents
        self._max_seconds = max_seconds

    async def search(
        self,
        query: str,
        *,
        regex: bool = False,
        ever: bool = False,
        device_ids: Collection[UUID] | None = None,
        under: str | None = None,
        limit: int = 100,
    ) -> SearchResult:
        """See `SnapshotStore.search`."""
        text = storable(query)
        where = (None if device_ids is None else list(device_ids), None if under is None else storable(under))
        try:
            await self._check(text, regex=regex)
            if ever:
                return await self._ever(text, regex, *where, limit)
            return await self._current(text, regex, *where, limit)
        except DatabaseOperationError as error:
            if sqlstate_of(error) != _QUERY_CANCELED:
                raise
            raise ValidationFailed(
                f"Searching for {query!r} took longer than {self._max_seconds:g} s.",
                hint="Give three letters in a row that are in it, or name devices or a folder.",
            ) from error

    async def _check(self, text: str, *, regex: bool) -> None:
        if not text or "\n" in text:
            raise ValidationFailed("A search is for something within one line.", hint="Search for a part of one line.")
        if not regex:
            return
        if _OPTIONS.match(text):
            raise ValidationFailed("The expression begins with options.", hint="Leave them out; case never matters.")
        try:
            await self._database.fetch_within(self._max_seconds, SQL["valid"], text)
        except DatabaseOperationError as error:
            if sqlstate_of(error) == _INVALID_PATTERN:
                raise ValidationFailed(f"{text!r} is no regular expression: {error.message}") from error
            raise

    async def _current(
        self, text: str, regex: bool, devices: list[UUID] | None, under: str | None, limit: int
    ) -> SearchResult:
        pieces = pattern_grams(text) if regex else literal_grams(text)
        match = SQL["pattern" if regex else "literal"].partition("\n")[2]
        statement = _filled(
            SQL["current"],
            match_text=match.replace("{text}", "masked.text"),
            match_line=match.replace("{text}", "found.text"),
            pieces=SQL["pieces"].partition("\n")[2] if pieces else "",
            among=SQL["among"].partition("\n")[2] if pieces else "",
            snapshot=_COLUMNS,
        )
        what = text if regex else f"%{_escaped(text)}%"
        values = (what, devices, under, limit + 1, MAX_LINE, *([pieces] if pieces else []))
        rows = await self._database.fetch_within(self._max_seconds, statement, *values, by_index=bool(pieces))
        hits = [(tuple(row)[:-2], row["line_number"], row["line"]) for row in rows]
        return SearchResult(hits=_hits(hits[:limit]), complete=len(hits) <= limit)

    async def _ever(
        self, text: str, regex: bool, devices: list[UUID] | None, under: str | None, limit: int
    ) -> SearchResult:
        """File by file, each content once, newest first. Texts without the letters that a match has are not masked."""
        deadline = time.monotonic() + self._max_seconds
        letters = [one.lower() for one in (required(text) if regex else [text])]
        found: list[Found] = []
        after = searched = 0
        while len(found) <= limit:
            turn = await self._database.fetchrow(SQL["next_files"], after, devices, under, FILES_A_TURN)
            if turn is None or turn["last"] is None:
                return SearchResult(hits=_hits(found), complete=True, searched_files=searched)
            if time.monotonic() > deadline:
                break
            told: set[Told] = set()
            for rows in _slices(await self._versions(after, devices, under)):
                if time.monotonic() > deadline:
                    return SearchResult(hits=_hits(found[:limit]), complete=False, searched_files=searched)
                read = await self._contents.read({row["hash"] for row in rows}, sound=True)
                work = partial(_lines, rows, read, letters, told)
                lines = await in_thread(sum(map(len, read.values())), work)
                found += await self._matching(text, lines) if regex else lines
            after, searched = turn["last"], searched + turn["files"]
        return SearchResult(hits=_hits(found[:limit]), complete=False, searched_files=searched)

    async def _versions(self, after: int, devices: list[UUID] | None, under: str | None) -> list[Any]:
        statement = _filled(SQL["files"], snapshot=_COLUMNS)
        return await self._database.fetch(statement, after, devices, under, FILES_A_TURN, timeout=self._max_seconds)

    async def _matching(self, pattern: str, lines: Sequence[Found]) -> list[Found]:
        """PostgreSQL reads the expression, as it does for current texts, and cannot be held up by it."""
        found: list[Found] = []
        for start in range(0, len(lines), LINES_A_TURN):
            part = lines[start : start + LINES_A_TURN]
            texts = [line for _, _, line in part]
            rows = await self._database.fetch_within(self._max_seconds, SQL["lines"], pattern, texts)
            found += [part[row["number"] - 1] for row in rows]
        return found


def _slices(rows: Sequence[Any]) -> Iterator[list[Any]]:
    """Versions of which the contents fit into memory together."""
    part: list[Any] = []
    size = 0
    for row in rows:
        if part and size + row["size_bytes"] > BYTES_A_SLICE:
            yield part
            part, size = [], 0
        part.append(row)
        size += row["size_bytes"]
    if part:
        yield part


def _lines(rows: Iterable[Any], read: Mapping[bytes, bytes], letters: Sequence[str], told: set[Told]) -> list[Found]:
    """Masked lines of versions that may match: each line of a file once, of the newest version that has it."""
    result: list[Found] = []

    def has(text: str) -> bool:
        return all(one in text for one in letters)

    for row in rows:
        content = read.get(row["hash"], b"")
        plain = plain_text(content)
        if plain is None or not has(plain.lower()):
            continue
        for number, line in enumerate((masked_text(content, row["config_type"], row["path"]) or "").split("\n"), 1):
            key = (row["device_id"], row["path"], line)
            if key not in told and has(line.lower()):
                told.add(key)
                result.append((row, number, line))
    return result


def _hits(found: Iterable[Found]) -> tuple[SearchHit, ...]:
    hits = [SearchHit(snapshot=snapshot(row), line_number=number, line=line[:MAX_LINE]) for row, number, line in found]
    return tuple(sorted(hits, key=lambda hit: (hit.snapshot.device_id.int, hit.snapshot.path, hit.line_number)))


def _filled(statement: str, **parts: str) -> str:
    for name, part in parts.items():
        statement = statement.replace("{" + name + "}", part)
    return statement


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)
