"""Whether the programs that read a file of configuration would take it."""

import base64
from dataclasses import dataclass, field
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineCommand
from infrastructor.masking import mask_secrets
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

_SAID = 1500
_REFUSED = frozenset({0, 1})
_NO_PROGRAM = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a program said of a configuration. `accepted` None: it could not be asked."""

    accepted: bool | None
    said: str = ""


def _verdict(output: CommandOutput) -> Verdict:
    said = clean(mask_secrets(f"{output.error_text}\n{output.text}".strip()), _SAID)
    return Verdict(accepted=output.exit_status == 0, said=said)


@dataclass(frozen=True)
class PodmanTestNginx(Command[Verdict]):
    """Let nginx in a container test its configuration, by Podman."""

    template = "podman exec -- {container} nginx -t"
    needs = "podman"
    lane = Lane.SLOW
    ok_statuses = _REFUSED
    may_sudo = True
    container: str

    def parse(self, output: CommandOutput) -> Verdict:
        return _verdict(output)


@dataclass(frozen=True)
class TestNginxInContainer(EngineCommand[Verdict]):
    """Let nginx in a container test its configuration."""

    __test__ = False  # no class of tests

    template = "docker exec -- {container} nginx -t"
    lane = Lane.SLOW
    ok_statuses = _REFUSED
    podman = PodmanTestNginx
    container: str

    def parse(self, output: CommandOutput) -> Verdict:
        return _verdict(output)


@dataclass(frozen=True)
class TestNginxOnHost(Command[Verdict]):
    """Let nginx of the device itself test its configuration."""

    __test__ = False  # no class of tests

    template = "nginx -t"
    needs = "nginx"
    lane = Lane.SLOW
    ok_statuses = _REFUSED
    may_sudo = True

    def parse(self, output: CommandOutput) -> Verdict:
        return _verdict(output)


@dataclass(frozen=True)
class TestComposeText(Command[Verdict]):
    """Let Docker Compose read a text as if it were the file of a project in this folder. Nothing is written."""

    __test__ = False  # no class of tests

    template = "{folder} {encoded}"
    script = r"""
folder=$1
if docker compose version >/dev/null 2>&1; then compose='docker compose'
elif command -v docker-compose >/dev/null 2>&1; then compose=docker-compose
else exit 127
fi
printf %s "$2" | base64 -d | $compose -f - --project-directory "$folder" config -q
"""
    lane = Lane.SLOW
    timeout = timedelta(seconds=60)
    ok_statuses = frozenset(range(128))
    may_sudo = True
    folder: str
    content: bytes = field(repr=False)

    @property
    def encoded(self) -> str:
        return base64.b64encode(self.content).decode()

    def summary(self) -> str:
        """Contents hold secrets."""
        return f"TestComposeText {self.folder!r} bytes={len(self.content)}"

    def parse(self, output: CommandOutput) -> Verdict:
        if output.exit_status == _NO_PROGRAM:
            return Verdict(accepted=None)
        return _verdict(output)
