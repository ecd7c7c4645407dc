"""Pending updates of openSUSE and SUSE Linux Enterprise, by zypper's XML. Seen: zypper 1.14."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from xml.etree import ElementTree

from infrastructor.command import Command
from infrastructor.domains.packages.models import PackageUpdate
from infrastructor.domains.packages.pending import Pending, newest, sections
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean


@dataclass(frozen=True)
class ListZypperUpdates(Command[Pending]):
    """What zypper would upgrade, from the lists it has. What a security patch is about, only its text says."""

    # Without any list zypper would fetch them, --no-refresh or not. `--category` is ignored with --xmlout. Names of
    # patches are a repository's, so only plain ones are taken.
    script = r"""
export LC_ALL=C
command -v zypper >/dev/null 2>&1 || exit 127
cd /var/cache/zypp/raw 2>/dev/null && lists=$(stat -c %Y */repodata/repomd.xml */content 2>/dev/null)
z='zypper --non-interactive --no-refresh --xmlout'
if [ -n "$lists" ]; then
  printf '==> /updates <==\n'
  $z list-updates || exit 1
  printf '\n==> /patches <==\n'
  patches=$($z list-patches --category security) || exit 1
  printf '%s\n==> /about <==\n' "$patches"
  printf '%s\n' "$patches" | tr '<' '\n' | sed -n \
    's/^update kind="patch" name="\([A-Za-z0-9][A-Za-z0-9._+:-]*\)".* category="security".*/\1/p' |
    xargs -r $z info -t patch --
  printf '\n==> /locks <==\n'
  $z locks
  printf '\n==> /advisories <==\n'
  ls */repodata 2>/dev/null | grep -c updateinfo
fi
printf '\n==> /lists <==\n%s\n==> /now <==\n' "$lists"
date +%s
"""
    timeout = timedelta(seconds=120)
    max_output = 8 << 20
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> Pending:
        parts = sections(output.text)
        if "now" not in parts:
            raise ParseError(f"Not an answer of zypper: {clean(output.text, 200)!r}")
        if "updates" not in parts:
            raise ParseError(
                "zypper has no package lists yet.", hint="Run 'zypper refresh' as root on the device, then ask again."
            )
        fixed = _fixed_by_security(parts.get("about", ""))
        # Tumbleweed has no patches at all; and a patch whose text is not understood is about nobody knows what.
        tells = parts.get("advisories", "").strip() not in {"", "0"} and bool(fixed or not _security(parts))
        updates = []
        for row in _document(parts["updates"]).iter("update"):
            name, new = row.get("name"), row.get("edition")
            if row.get("kind") != "package" or not name or not new:
                continue
            source = row.find("source")
            updates.append(
                PackageUpdate(
                    name=name,
                    current=row.get("edition-old"),
                    new=new,
                    security=name in fixed if tells else None,
                    origin=None if source is None else clean(source.get("alias") or "", 100) or None,
                )
            )
        locks = _document(parts["locks"]).iter("lock") if parts.get("locks", "").strip() else ()
        held = tuple(name.text for lock in locks for name in lock.iter("name") if name.text)
        return Pending("zypper", tuple(updates), held, newest(parts.get("lists", "")), newest(parts["now"]))


_ABOUT = re.compile(
    r"^(?:Conflicts[ \t]*:|[ \t])[ \t]*([\w+.-]+?)(?:\.(?:noarch|x86_64|i[3-6]86|aarch64|ppc64le|s390x))? < \S+$",
    re.MULTILINE,
)


def _security(parts: Mapping[str, str]) -> list[str]:
    """Names of the security patches that are needed."""
    rows = _document(parts.get("patches", "")).iter("update")
    return [row.get("name", "") for row in rows if row.get("category") == "security"]


def _fixed_by_security(text: str) -> frozenset[str]:
    """A patch conflicts with what it replaces: `openssl < 3.1.4-150600.5.10`."""
    if not text.strip():
        return frozenset()
    said = "".join(_document(text).itertext())
    return frozenset(_ABOUT.findall(said))


def _document(text: str) -> ElementTree.Element:
    """One answer of zypper. Declarations of entities, which could unfold without end, are no part of any."""
    if "<!" in text:
        raise ParseError(f"Not XML of zypper: {clean(text, 200)!r}")
    try:
        return ElementTree.fromstring(text.strip())  # noqa: S314 - see above
    except ElementTree.ParseError as error:
        raise ParseError(f"Not XML of zypper: {clean(text, 200)!r}") from error
