"""Read every sample of a SWAG checkout, toggle each login in it, and let a real nginx judge each result.

    INFRASTRUCTOR_SWAG_SAMPLES=/path/to/reverse-proxy-confs python -m tests.lab.swag

Needs root (chroot), and once apt-get for nginx. INFRASTRUCTOR_SWAG_DEFAULTS may name the folder `root/defaults/nginx`
of docker-swag, whose own includes are taken then instead of the tests'. Where `crossplane` can be imported, its tokens
are compared with ours. Prints the figures; ends with 1 when something is not as it should be.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import report
from infrastructor.formats.nginx import Edit, apply, decode, encode, read, tokens, value_of
from infrastructor.formats.swag import Auth, Kind, describe, file_name
from infrastructor.formats.swag_edit import PROVIDERS, CannotEdit, includes_subfolders, set_auth
from tests.support import swag

KINDS: tuple[Auth | None, ...] = (None, *PROVIDERS, Auth.BASIC)
AT_ONCE = 2


class Judge:
    """A chroot with nginx, in which one configuration at a time is tested."""

    def __init__(self, folder: Path, defaults: Path | None) -> None:
        self.root = swag.make_root(folder)
        self.nginx = swag.write_config(folder / "config")
        for sample in self.nginx.glob("proxy-confs/*"):
            sample.unlink()
        if defaults is not None:
            for path in [*defaults.glob("*.conf.sample"), *defaults.glob("site-confs/*.conf.sample")]:
                target = self.nginx / path.relative_to(defaults).with_suffix("")
                target.write_bytes(path.read_bytes())
            (self.root / "etc/nginx/fastcgi_params").touch()
        self.site = self.nginx / "site-confs/default.conf"
        self.plain_site = self.site.read_bytes()

    def site_for(self, text: str) -> str:
        """The site configuration; for a sample with a `location /` of its own without the one that is there."""
        site = decode(self.plain_site)
        if not any(one.name == "location" and one.args == ("/",) for one in read(text).directives):
            return site
        servers = [one for one in read(site).directives if any(map(includes_subfolders, one.all("include")))]
        roots = [one for server in servers for one in server.all("location") if one.args == ("/",)]
        return apply(site, [Edit(one.start, one.end, "") for one in roots])

    def test(self, name: str, text: str, auth: Auth | None) -> tuple[bool, str]:
        path = self.nginx / "proxy-confs" / name
        path.write_bytes(encode(text))
        with_half = auth in PROVIDERS and ".subfolder." in name
        site = self.site_for(text)
        self.site.write_bytes(encode(set_auth(read(site), auth, site=True) if with_half else site))
        try:
            return self.judge()
        finally:
            path.unlink()

    def judge(self) -> tuple[bool, str]:
        done = subprocess.run(
            ["chroot", self.root, "/usr/sbin/nginx", "-t"], capture_output=True, text=True, check=False, timeout=60
        )
        said = [line for line in done.stderr.splitlines() if "[" in line]
        return done.returncode == 0 and not said, "; ".join(said)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", action="store_true", help="write the figures into benchmarks/RESULTS.md")
    options = parser.parse_args()
    samples = sorted(Path(os.environ["INFRASTRUCTOR_SWAG_SAMPLES"]).glob("*.conf.sample"))
    defaults = os.environ.get("INFRASTRUCTOR_SWAG_DEFAULTS")
    counts: Counter[str] = Counter()
    failures: list[str] = []
    started = time.perf_counter()
    for path in samples:
        failures += _reading(path, counts)
    reading_ms = 1000 * (time.perf_counter() - started) / max(1, len(samples))
    with tempfile.TemporaryDirectory() as folder:
        judges = [Judge(Path(folder, str(number)), Path(defaults) if defaults else None) for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            shares = [samples[number::AT_ONCE] for number in range(AT_ONCE)]
            for found, said in pool.map(_toggling, judges, shares):
                counts += found
                failures += said
        failures += _together(judges[0], samples, counts)
    print(f"{len(samples)} samples, read in {reading_ms:.2f} ms each")
    for key, value in sorted(counts.items()):
        print(f"{key:40} {value}")
    print(*failures, sep="\n")
    if options.results:
        rows = [["samples", str(len(samples))], *([key, str(value)] for key, value in sorted(counts.items()))]
        text = "## Samples of SWAG\n\n`python -m tests.lab.swag --results`, nginx 1.22.\n\n"
        report.write_results("swag", text + report.table(("what", "count"), rows))
    return 1 if any(not failure.startswith("known: ") for failure in failures) else 0


def _reading(path: Path, counts: Counter[str]) -> list[str]:
    content = path.read_bytes()
    text = decode(content)
    document = read(text)
    pieces = list(tokens(text))
    exact = encode("".join(text[piece.start : piece.end] for piece in pieces)) == content
    edited = apply(text, [Edit(one.start, one.end, text[one.start : one.end]) for one in document.directives])
    proxy, name = describe(document), file_name(path.name)
    counts["byte-exact"] += exact and encode(edited) == content
    counts["read without fault"] += not document.faults
    counts["locations"] += len(list(proxy.locations))
    understood = name is not None and proxy.version is not None and bool(proxy.upstreams)
    understood = understood and (bool(proxy.names) or (name is not None and name.kind is Kind.SUBFOLDER))
    counts["service, version, names, upstream known"] += understood
    failures = [f"{path.name}: {fault}" for fault in document.faults]
    failures += [] if exact and understood else [f"{path.name}: not understood"]
    lex = _crossplane()
    if lex is not None:
        words = [
            value_of(text[one.start : one.end]) if one.kind == "word" else text[one.start : one.end]
            for one in pieces
            if one.kind not in {"space"}
        ]
        same = [word for word, *_ in lex(str(path))] == words  # type: ignore[operator]
        counts["tokens as crossplane's"] += same
        failures += [] if same else [f"{path.name}: other tokens than crossplane's"]
    return failures


def _crossplane() -> object | None:
    try:
        return importlib.import_module("crossplane").lex  # type: ignore[no-any-return]
    except ImportError:
        return None


def _toggling(judge: Judge, samples: list[Path]) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for path in samples:
        text, name = _filled(decode(path.read_bytes())), path.name.removesuffix(".sample")
        plain, said = judge.test(name, text, None)
        counts["sample itself valid"] += plain
        if not plain:
            failures.append(f"known: {name} itself: {said}")
        for auth in KINDS[1:]:
            counts["toggles"] += 1
            try:
                toggled = set_auth(read(text), auth)
                back = set_auth(read(toggled), None)
            except CannotEdit as error:
                failures.append(f"{name} {auth}: {error}")
                continue
            counts["toggled back to the byte"] += back == text
            # A sample without a line for it is given one, which stays as a comment.
            counts["toggled by a new line"] += back != text
            passed, said = judge.test(name, toggled, auth)
            counts["toggles valid"] += passed
            if not passed:
                failures.append(f"{'known: ' if not plain else ''}{name} {auth}: {said}")
    return counts, failures


def _filled(text: str) -> str:
    """The templates have places to fill in; everything else stays."""
    for place, value in (("<container_name>", "some"), ("<port_number>", "80"), ("<http or https>", "http")):
        text = text.replace(place, value)
    return text


def _together(judge: Judge, samples: list[Path], counts: Counter[str]) -> list[str]:
    """All of them at once: nginx takes them, and warns of names that two of them have."""
    judge.site.write_bytes(judge.plain_site)
    for path in samples:
        if not _fits_together(path):
            continue
        (judge.nginx / "proxy-confs" / path.name.removesuffix(".sample")).write_bytes(path.read_bytes())
        counts["enabled together"] += 1
    _, said = judge.judge()
    return [f"known: together: {said}"] if said else []


def _fits_together(path: Path) -> bool:
    """Not the templates, and not those that want to be the whole site."""
    roots = [one for one in read(decode(path.read_bytes())).directives if one.name == "location" and one.args == ("/",)]
    return not path.name.startswith("_template") and not roots


if __name__ == "__main__":
    sys.exit(main())
