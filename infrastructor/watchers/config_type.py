"""What kind of configuration a file is, by its path and the beginning of its content. Pure."""

import re
from pathlib import PurePosixPath

BINARY = "binary"
LOOKED_AT = 8192
_COMPOSE = re.compile(r"^(docker-)?compose([.-][\w.-]+)?\.ya?ml$")
_ENV = re.compile(r"^(\.env(\..+)?|.+\.env)$")
_SWAG = re.compile(r"\.(subdomain|subfolder)\.conf(\.sample)?$")
_BY_ENDING = {
    ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".ini": "ini", ".toml": "toml", ".service": "ini",
    ".timer": "ini", ".mount": "ini", ".socket": "ini", ".network": "ini", ".netdev": "ini", ".desktop": "ini",
}  # fmt: skip
_SERVICES = re.compile(r"^services:\s*(#.*)?$", re.MULTILINE)
_TRAEFIK_KEYS = re.compile(
    r"^\[?(entryPoints|providers|certificatesResolvers|http\.(routers|services))\b", re.MULTILINE
)
_TRAEFIK_HTTP = re.compile(r"^(http|tcp):\s*\n(\s*#.*\n)*\s+(routers|services|middlewares):", re.MULTILINE)
_NGINX = re.compile(r"^\s*(server|http|upstream|events)\s*\{|^\s*(proxy_pass|location|server_name)\s", re.MULTILINE)
_APACHE = re.compile(r"^\s*<(VirtualHost|Directory|Location|IfModule)\b", re.MULTILINE | re.IGNORECASE)
_INI = re.compile(r"^\s*\[[^\]\n]+\]\s*$", re.MULTILINE)
_ASSIGNMENTS = re.compile(r"^(export\s+)?[A-Za-z_][A-Za-z0-9_]*=", re.MULTILINE)


def config_type(path: str, content: bytes | None) -> str:
    """swag, compose, nginx, traefik, apache, yaml, json, toml, ini, env, text or binary.

    Without content the name alone decides.
    """
    head = None if content is None else _text(content[:LOOKED_AT], whole=len(content) <= LOOKED_AT)
    if content is not None and head is None:
        return BINARY
    return _by_name(path, head or "") or _by_content(head or "")


def _text(head: bytes, *, whole: bool) -> str | None:
    if b"\0" in head:
        return None
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        # A character cut in two by our limit is no fault of the file.
        return head[: error.start].decode() if not whole and error.start >= len(head) - 3 else None


def _by_name(path: str, head: str) -> str | None:  # noqa: PLR0911 - one rule a line
    pure = PurePosixPath(path)
    name, folders = pure.name.lower(), {part.lower() for part in pure.parts[:-1]}
    if _COMPOSE.match(name):
        return "compose"
    if _ENV.match(name):
        return "env"
    if _SWAG.search(name) or "proxy-confs" in folders or ("swag" in folders and "nginx" in folders):
        return "swag"
    if name.startswith("traefik.") or ("traefik" in folders and pure.suffix in {".yml", ".yaml", ".toml"}):
        return "traefik"
    if "nginx" in folders and (pure.suffix == ".conf" or _NGINX.search(head)):
        return "nginx"
    if name == ".htaccess" or not folders.isdisjoint({"apache2", "httpd"}):
        return "apache"
    kind = _BY_ENDING.get(pure.suffix.lower())
    if kind == "yaml" and (found := _yaml(head)):
        return found
    return kind


def _yaml(head: str) -> str | None:
    if _SERVICES.search(head) and re.search(r"^\s+(image|build):", head, re.MULTILINE):
        return "compose"
    return "traefik" if _TRAEFIK_KEYS.search(head) or _TRAEFIK_HTTP.search(head) else None


def _by_content(head: str) -> str:
    if _APACHE.search(head):
        return "apache"
    if _NGINX.search(head) and "{" in head:
        return "nginx"
    if head.lstrip().startswith("{") and head.rstrip().endswith(("}", ",", "]")):
        return "json"
    if _INI.search(head):
        return "ini"
    lines = [line for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and all(_ASSIGNMENTS.match(line) for line in lines):
        return "env"
    return "text"
