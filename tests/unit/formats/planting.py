"""Files of every type with secrets planted in all the ways people write them."""

# ruff: noqa: E501

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

NAMES = (
    "password", "PASSWORD", "DB_PASSWORD", "MYSQL_ROOT_PASSWORD", "dbPassword", "api_key", "API_KEY", "apiKey", "secret",
    "CLIENT_SECRET", "jwtSecret", "auth_token", "AUTH_TOKEN", "accessToken", "PRIVATE_KEY", "encryption-key", "passphrase",
    "REDIS_PASS", "smtp_pwd", "SECRET_KEY_BASE", "APP_KEY", "session_cookie", "WEBHOOK_URL", "credentials", "DBPASSWORD",
    "ADMIN_PIN", "TOTP_SEED", "psk",
)  # fmt: skip
_LETTERS = string.ascii_letters + string.digits
_SIGNS = "!%^*+-_.~?@/="


@dataclass(frozen=True)
class Planted:
    """A text, and the secret somewhere in it."""

    kind: str
    how: str
    text: str
    secret: str


def secret(source: random.Random, signs: str = "") -> str:
    """Nothing that stands in a file by accident."""
    body = "".join(source.choice(_LETTERS + signs) for _ in range(source.randint(10, 30)))
    return f"q{source.choice(_LETTERS)}{body}Z"


def _of_shape(source: random.Random) -> str:
    """What is a secret wherever it stands."""
    body = "".join(source.choice(_LETTERS) for _ in range(36))
    return source.choice([
        f"ghp_{body}", f"glpat-{body[:20]}", f"sk-{body}", f"AKIA{body[:16].upper()}", f"xoxb-{body}", f"hvs.{body}",
        f"dckr_pat_{body[:27]}", f"$2y$10${body}", f"$6${body[:8]}${body}",
    ])  # fmt: skip


def _url(source: random.Random, value: str) -> str:
    return f"{source.choice(['postgres', 'redis', 'amqp', 'https', 'mysql'])}://user:{value}@db.lan:5432/app"


Way = Callable[[random.Random, str, str], str]
WAYS: dict[str, dict[str, Way]] = {
    "env": {
        "bare": lambda r, n, s: f"TZ=UTC\n{n}={s}\nPUID=1000\n",
        "quoted": lambda r, n, s: f'A=1\n{n}="{s} with words"\n',
        "exported": lambda r, n, s: f"export {n}='{s}'\n",
        "commented out": lambda r, n, s: f"#{n}={s}\nA=1\n",
        "with a comment": lambda r, n, s: f"{n}={s} # the new one\n",
        "over lines": lambda r, n, s: f'{n}="first\n{s}\nlast"\nA=1\n',
        "crlf": lambda r, n, s: f"A=1\r\n{n}={s}\r\nB=2\r\n",
        "spaces around": lambda r, n, s: f"{n} = {s}\n",
        "in a url": lambda r, n, s: f"DATABASE={_url(r, s)}\n",
    },
    "compose": {
        "map": lambda r, n, s: f"services:\n  web:\n    image: x\n    environment:\n      {n}: {s}\n      TZ: UTC\n",
        "list": lambda r, n, s: f"services:\n  web:\n    image: x\n    environment:\n      - {n}={s}\n      - TZ=UTC\n",
        "quoted item": lambda r, n, s: f'services:\n  web:\n    environment:\n      - "{n}={s} more"\n',
        "flow": lambda r, n, s: f"services: {{web: {{image: x, environment: {{A: 1, {n}: '{s}'}}}}}}\n",
        "default": lambda r, n, s: f"services:\n  web:\n    environment:\n      X: ${{{n.replace('-', '_')}:-{s}}}\n",
        "url": lambda r, n, s: f"services:\n  web:\n    environment:\n      - DB={_url(r, s)}\n",
        "argument": lambda r, n, s: f"services:\n  web:\n    command: --verbose --{n.lower().replace('_', '-')}={s}\n",
        "build argument": lambda r, n, s: f"services:\n  web:\n    build:\n      args:\n        {n}: {s}\n",
        "comment": lambda r, n, s: f"services:\n  web:\n    image: x\n    # {n}: {s}\n",
        "anchor": lambda r, n, s: f"x-a: &a\n  {n}: &b {s}\nservices:\n  web:\n    environment:\n      <<: *a\n      B: *b\n",
        "block": lambda r, n, s: f"services:\n  web:\n    environment:\n      {n}: |\n        {s}\n      A: 1\n",
        "broken": lambda r, n, s: f"services:\n  web:\n   image: [x\n    environment:\n      {n}: {s}\n",
        "configs": lambda r, n, s: f"configs:\n  app:\n    content: |\n      [db]\n      {n} = {s}\n      user = x\n",
    },
    "yaml": {
        "map": lambda r, n, s: f"a:\n  {n}: {s}\n  b: 1\n",
        "double": lambda r, n, s: f'a:\n  {n}: "{s}"\n',
        "list": lambda r, n, s: f"{n}:\n  - {s}\n  - other\n",
        "named": lambda r, n, s: f"env:\n  - name: {n}\n    value: {s}\n",
        "kubernetes": lambda r, n, s: f"kind: Secret\nstringData:\n  whatever: {s}\n",
        "documents": lambda r, n, s: f"a: 1\n---\nb:\n  {n}: {s}\n",
        "folded": lambda r, n, s: f"{n}: >-\n  one\n  {s}\nb: 1\n",
        "over lines": lambda r, n, s: f'{n}: "one\n  {s}"\nb: 1\n',
        "tagged": lambda r, n, s: f"{n}: !vault {s}\n",
        "bom": lambda r, n, s: f"\ufeff{n}: {s}\nb: ü\n",
        "umlauts before": lambda r, n, s: f"ä: '🐳 ö'\n{n}: {s}\n",
        "comment behind": lambda r, n, s: f"a: 1 # {n}={s}\n",
        "deep": lambda r, n, s: f"a: {'[' * 300}{']' * 300}\n{n}: {s}\n",
    },
    "traefik": {
        "users": lambda r, n, s: f"http:\n  middlewares:\n    a:\n      basicAuth:\n        users:\n          - 'u:$apr1$x{s}$y{s}'\n",
        "map": lambda r, n, s: f"certificatesResolvers:\n  x:\n    {n}: {s}\n",
    },
    "json": {
        "string": lambda r, n, s: json.dumps({"a": 1, n: s, "b": [1]}),
        "nested": lambda r, n, s: json.dumps({"x": {"y": [{n: s}]}}, indent=2),
        "list": lambda r, n, s: json.dumps({n: ["one", s]}),
        "escaped": lambda r, n, s: json.dumps({n: f'"{s}\\'}),
        "named": lambda r, n, s: json.dumps([{"name": n, "value": s}]),
        "commented": lambda r, n, s: f'{{\n // "{n}": "{s}",\n "a": 1\n}}',
        "url": lambda r, n, s: json.dumps({"dsn": _url(r, s)}),
        "cut off": lambda r, n, s: json.dumps({"a": {n: s}, "z": 1})[:-2],
        "in a string": lambda r, n, s: json.dumps({"x": json.dumps({n: s})}),
    },
    "ini": {
        "key": lambda r, n, s: f"[client]\nuser = a\n{n} = {s}\n",
        "no spaces": lambda r, n, s: f"[a]\n{n}={s}\n",
        "colon": lambda r, n, s: f"[a]\n{n}: {s}\n",
        "words": lambda r, n, s: f"[a]\n{n} = {s} and more\n",
        "continued": lambda r, n, s: f"[a]\n{n} =\n    {s}\nb = 1\n",
        "continued after": lambda r, n, s: f"[a]\n{n} = one\n    {s}\nb = 1\n",
        "commented out": lambda r, n, s: f"[a]\n;{n} = {s}\n",
        "wireguard": lambda r, n, s: f"[Interface]\nAddress = 10.0.0.1\nPrivateKey = {s}=\n[Peer]\nPresharedKey = {s}\n",
        "unit": lambda r, n, s: f"[Service]\nEnvironment={n}={s}\n",
        "unit quoted": lambda r, n, s: f'[Service]\nEnvironment="{n}={s} x" "B=2"\n',
    },
    "toml": {
        "key": lambda r, n, s: f'[a]\nb = 1\n{n} = "{s}"\n',
        "literal": lambda r, n, s: f"{n} = '{s}'\n",
        "over lines": lambda r, n, s: f'{n} = """\none\n{s}\n"""\nb = 1\n',
        "table": lambda r, n, s: f'a = {{ b = 1, {n} = "{s}" }}\n',
    },
    "nginx": {
        "header": lambda r, n, s: f'location / {{\n  proxy_set_header Authorization "Bearer {s}";\n}}\n',
        "custom header": lambda r, n, s: f"proxy_set_header X-Api-Key {s};\n",
        "variable": lambda r, n, s: f"set ${n.replace('-', '_')} '{s}';\n",
        "parameter": lambda r, n, s: f"fastcgi_param {n} {s};\n",
        "url": lambda r, n, s: f"proxy_pass https://user:{s}@backend:8080/;\n",
        "query": lambda r, n, s: f"rewrite ^ /x?token={s}&a=1 last;\n",
        "off": lambda r, n, s: f"#proxy_set_header X-Auth-Token {s};\n",
    },
    "swag": {
        "header": lambda r, n, s: f'    proxy_set_header Authorization "Basic {s}==";\n',
        "cookie": lambda r, n, s: f'    proxy_set_header Cookie "session={s}";\n',
    },
    "apache": {
        "environment": lambda r, n, s: f"<VirtualHost *:80>\n  SetEnv {n} {s}\n</VirtualHost>\n",
        "ldap": lambda r, n, s: f'AuthLDAPBindPassword "{s}"\n',
        "header": lambda r, n, s: f'RequestHeader set Authorization "Basic {s}"\n',
        "proxy": lambda r, n, s: f"ProxyPass /x http://u:{s}@b:1/\n",
        "php": lambda r, n, s: f'php_value "{n}" "{s}"\n',
    },
    "text": {
        "redis": lambda r, n, s: f"port 6379\nrequirepass {s}\nmasterauth {s}\n",
        "assignment": lambda r, n, s: f"{n}={s}\n",
        "yaml like": lambda r, n, s: f"{n}: {s}\n",
        "php": lambda r, n, s: f"$config['{n}'] = '{s}';\n",
        "define": lambda r, n, s: f"define('{n}', '{s}');\n",
        "netrc": lambda r, n, s: f"machine x login y password {s}\n",
        "htpasswd": lambda r, n, s: f"user:$apr1$q{s[:6]}$Z{s}\n",
        "pem": lambda r, n, s: f"-----BEGIN PRIVATE KEY-----\nMII{s}\n{s}abc\n-----END PRIVATE KEY-----\n",
    },
}  # fmt: skip
_SIMPLE = frozenset({"in a url", "url", "proxy", "argument", "query", "cookie", "default", "htpasswd", "in a string"})
_BLANK = frozenset({"env", "ini", "text"})


def planted(seed: int) -> Iterator[Planted]:
    """One file for each way, with another name and secret for each seed; and shapes in names that say nothing."""
    source = random.Random(seed)
    for kind, ways in WAYS.items():
        for how, way in ways.items():
            name = source.choice(NAMES)
            # Quotes and commas would end the value in the middle in most of these; those have tests of their own.
            value = secret(source, "" if how in _SIMPLE else _SIGNS if kind in _BLANK else "!^*+-_~")
            yield Planted(kind, how, way(source, name, value), value)
    for kind, text in {
        "env": "MISC={}\n", "compose": "services:\n  a:\n    environment:\n      MISC: {}\n", "yaml": "misc: {}\n",
        "json": '{{"misc": "{}"}}', "ini": "[a]\nmisc = {}\n", "toml": 'misc = "{}"\n', "nginx": "set $misc {};\n",
        "apache": "SetEnv MISC {}\n", "text": "misc {}\n", "traefik": "misc: ['{}']\n",
    }.items():  # fmt: skip
        value = _of_shape(source)
        yield Planted(kind, "shape", text.format(value), value)
