"""Every edit there is, on every compose file of a folder: `python -m tests.lab.compose_edits FOLDER`.

Each edit must leave every byte outside its place as it was; `Editor.result` proves besides that the text comes to
exactly what was meant.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import report
from infrastructor.formats import compose
from infrastructor.formats.yaml_text import Branch, CannotEdit, Editor, NotYaml, Scalar, YamlText, read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", action="store_true", help="write the figures into benchmarks/RESULTS.md")
    options = parser.parse_args()
    folder: Path = options.folder
    counts = {"files": 0, "not yaml": 0, "values replaced": 0, "lines added": 0, "refused": 0}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            document = read(path.read_bytes().decode())
        except (NotYaml, UnicodeDecodeError):
            counts["not yaml"] += 1
            continue
        counts["files"] += 1
        for kind, edit in edits(document):
            editor = Editor(document.text)
            try:
                edit(editor)
                new = editor.result()
            except CannotEdit as error:
                counts["refused"] += 1
                print(f"{path.name}: {error}")
                continue
            assert kept(document.text, new), path
            counts[kind] += 1
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if options.results:
        command = "`python -m tests.lab.compose_edits DIR --results`, every byte outside the span as it was."
        text = f"## Edits of compose files\n\n{command}\n\n"
        rows = [[name, str(count)] for name, count in counts.items()]
        report.write_results("compose_edits", text + report.table(("what", "count"), rows))
    return 1 if counts["refused"] else 0


def kept(old: str, new: str) -> bool:
    """Whether one stretch of the text was replaced, and no more than a few hundred characters of it."""
    start = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    tail = next(
        (i for i, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b),
        min(len(old), len(new)),
    )
    return len(old) - start - tail < 400


def edits(document: YamlText) -> Iterator[tuple[str, Callable[[Editor], None]]]:
    for service in compose.services(document):
        image = ("services", service, "image")
        if isinstance(document.at(image), Scalar):
            yield "values replaced", lambda editor, at=image: editor.replace(at, "example.org/x/y:1.2.3")  # type: ignore[misc]
        for port in compose.ports(document, service):
            yield "values replaced", lambda editor, at=port: editor.replace(at.path, at.with_port(12345))  # type: ignore[misc]
        for bind in compose.binds(document, service):
            yield "values replaced", lambda editor, at=bind: editor.replace(at.path, at.with_source("/srv/my app"))  # type: ignore[misc]
        yield "lines added", lambda editor, at=("services", service): editor.add(at, "x-new", ["a", "b"])  # type: ignore[misc]
        variables = ("services", service, "environment")
        node = document.at(variables)
        if isinstance(node, Branch) and node.items and node.is_mapping:
            yield "lines added", lambda editor, at=variables: editor.add(at, "TZ_NEW", "Europe/Berlin")  # type: ignore[misc]
        elif isinstance(node, Branch) and node.items:
            yield "lines added", lambda editor, at=variables: editor.append(at, "TZ_NEW=Europe/Berlin")  # type: ignore[misc]
    if document.root is not None:
        yield "lines added", lambda editor: editor.add_top("x-top", "proxy", {"external": "true"})


if __name__ == "__main__":
    sys.exit(main())
