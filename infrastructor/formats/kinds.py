"""What kind of configuration a file is: by its path, its name and the beginning of its content.

swag, compose, nginx, traefik, apache, yaml, json, toml, ini, env, text or binary. The name goes before the content,
since it is what the programs that read the file go by.
"""

import re

BINARY = "binary"
TEXT = "text"
KINDS = (
    "swag", "compose", "nginx", "traefik", "apache", "yaml", "json", "toml", "ini", "env", TEXT, BINARY,
)  # fmt: skip
YAML_KINDS = frozenset({"compose", "traefik", "yaml"})
NGINX_KINDS = frozenset({"swag", "nginx"})

_LOOKED_AT = 8192
_LONGEST_CHARACTER = 4
_COMPOSE = re.compile(r"(docker-|podman-|container-)?compose([.-][\w.-]+)?\.ya?ml")
_ENV = re.compile(r"\.env(\..+)?|.+\.env|environment")
_SWAG = re.compile(r"\.(subdomain|subfolder)\.conf(\.sample|\.disabled)?$")
_BY_ENDING = {
    **dict.fromkeys((".yml", ".yaml"), "yaml"),
    **dict.fromkeys((".json", ".jsonc", ".json5"), "json"),
    ".toml": "toml",
    **dict.fromkeys((".ini", ".desktop", ".properties", ".repo"), "ini"),
    **dict.fromkeys((".service", ".timer", ".mount", ".automount", ".socket", ".path", ".slice", ".target"), "ini"),
    **dict.fromkeys((".network", ".netdev", ".link", ".container", ".volume", ".pod", ".kube"), "ini"),
}
_SERVICES = re.compile(r"^services:\s*(#.*)?$", re.MULTILINE)
_RUNS = re.compile(r"^\s+(image|build):", re.MULTILINE)
_TRAEFIK_KEYS = re.compile(
    r"^\[?(entryPoints|providers|certificatesResolvers|http\.(routers|services))\b", re.MULTILINE
)
_TRAEFIK_HTTP = re.compile(r"^(http|tcp|udp):\s*\n(\s*#.*\n)*\s+(routers|services|middlewares):", re.MULTILINE)
_NGINX = re.compile(r"^\s*(server|http|upstream|events)\s*\{|^\s*(proxy_pass|location|server_name)\s", re.MULTILINE)
_APACHE = re.compile(r"^\s*<(VirtualHost|Directory|Location|IfModule)\b", re.MULTILINE | re.IGNORECASE)
_SECTION = re.compile(r"^\s*\[[^\]\n]+\]\s*$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"(export\s+)?[A-Za-z_][A-Za-z0-9_]*=")


def as_text(content: bytes) -> str | None:
    """The text of a file, None where it is none: a NUL, or no UTF-8. A byte order mark stays."""
    if b"\0" in content[:_LOOKED_AT]:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def config_type(path: str, content: bytes | None) -> str:
    """One of `KINDS`. Without content the name alone decides."""
    if content is None:
        return _by_name(path, "") or TEXT
    head = _head(content)
    return BINARY if head is None else _by_name(path, head) or _by_content(head)


def _head(content: bytes) -> str | None:
    """The first 8 KiB as text. A character cut in two there is no fault of the file."""
    head = content[:_LOOKED_AT]
    if b"\0" in head:
        return None
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        cut = len(content) > _LOOKED_AT and error.start > len(head) - _LONGEST_CHARACTER
        return head[: error.start].decode() if cut else None


def _by_name(path: str, head: str) -> str | None:
    *above, name = path.lower().rstrip("/").split("/")  # pathlib takes ten times as long, for every file of a fleet
    folders, dot = set(above), name.rfind(".")
    ending = name[dot:] if 0 < dot < len(name) - 1 else ""
    if _COMPOSE.fullmatch(name) or _ENV.fullmatch(name):
        return "env" if _ENV.fullmatch(name) else "compose"
    if _SWAG.search(name) or "proxy-confs" in folders or ("swag" in folders and "nginx" in folders):
        return "swag"
    if name.startswith("traefik.") or ("traefik" in folders and ending in {".yml", ".yaml", ".toml"}):
        return "toml" if ending == ".toml" else "traefik"
    if "nginx" in folders and (ending == ".conf" or _NGINX.search(head)):
        return "nginx"
    if name == ".htaccess" or not folders.isdisjoint({"apache2", "httpd"}):
        return "apache"
    kind = _BY_ENDING.get(ending)
    return (_yaml(head) or kind) if kind == "yaml" else kind


def _yaml(head: str) -> str | None:
    if _SERVICES.search(head) and _RUNS.search(head):
        return "compose"
    return "traefik" if _TRAEFIK_KEYS.search(head) or _TRAEFIK_HTTP.search(head) else None


def _by_content(head: str) -> str:
    if _APACHE.search(head):
        return "apache"
    if _NGINX.search(head) and "{" in head:
        return "nginx"
    if head.lstrip("\ufeff \t\r\n").startswith(("{", "[")) and head.rstrip().endswith(("}", "]", ",")):
        return "ini" if _SECTION.match(head.lstrip("\ufeff \t\r\n")) else "json"
    if _SECTION.search(head):
        return "ini"
    lines = [line.strip() for line in head.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "env" if lines and all(_ASSIGNMENT.match(line) for line in lines) else TEXT
