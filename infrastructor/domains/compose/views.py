"""Compose and .env files as an answer may show them: the same lines, secrets masked. Pure."""

from infrastructor.formats import compose as compose_text
from infrastructor.formats.secrets import MARK, Masker

_MASKER = Masker()  # differences are told from the texts themselves, so that no fingerprint is needed


def masked_lines(text: str) -> list[str]:
    """The lines of a compose file, each in its place."""
    return _same_count(text, _MASKER.mask("compose", text).text)


def masked_env_lines(text: str) -> list[str]:
    """The lines of an .env file: names stay."""
    return _same_count(text, _MASKER.mask("env", text).text)


def holds_mask(text: str) -> bool:
    """Whether something in it stands for a secret that was not shown."""
    return MARK.search(text) is not None


def shown_diff(name: str, old: str, new: str, *, env: bool = False) -> str:
    """A unified diff; what is masked still shows as changed."""
    lines = masked_env_lines if env else masked_lines
    return compose_text.diff(old, new, lines(old), lines(new), name)


def _same_count(text: str, masked: str) -> list[str]:
    lines, shown = text.splitlines(), masked.splitlines()
    return shown if len(lines) == len(shown) else [MASKED] * len(lines)


MASKED = _MASKER.mark("")
