"""A container with a real nginx and a /config like SWAG's: the same files in the same places, in words of our own."""

import io
import subprocess
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.docker import DockerEngine
from tests.support.programs import missing, program

IMAGE = "registry.test/tests/swag:latest"
_MODULES = "/usr/lib/nginx/modules"
PROVIDERS = ("ldap", "authelia", "authentik", "tinyauth")

_NGINX = f"""\
load_module {_MODULES}/ndk_http_module.so;
load_module {_MODULES}/ngx_http_set_misc_module.so;
user nobody nogroup;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    variables_hash_max_size 2048;
    server_names_hash_bucket_size 128;
    server_names_hash_max_size 4096;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    include /config/nginx/site-confs/*.conf;
}}
"""
_SITE = """\
## Version 2025/01/01
server {
    listen 80 default_server;
    location / { return 301 https://$host$request_uri; }
}

server {
    listen 443 ssl default_server;
    listen [::]:443 ssl default_server;
    server_name _;
    include /config/nginx/ssl.conf;
    root /config/www;

    include /config/nginx/proxy-confs/*.subfolder.conf;

    # the server halves of logins
    #include /config/nginx/ldap-server.conf;
    #include /config/nginx/authelia-server.conf;
    #include /config/nginx/authentik-server.conf;

    location = /alive { return 200 "alive\\n"; }
}

include /config/nginx/proxy-confs/*.subdomain.conf;
"""
_PROXY = """\
proxy_http_version 1.1;
proxy_set_header Connection $connection_upgrade;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Host $host;
"""
_SERVER_HALF = """\
location = /{name}/check {{
    internal;
    include /config/nginx/proxy.conf;
    include /config/nginx/resolver.conf;
    set $upstream_{name} {name};
    proxy_pass http://$upstream_{name}:9091/verify;
    proxy_pass_request_body off;
}}
location @{name}_login {{
    internal;
    set_escape_uri $target_url $scheme://$http_host$request_uri;
    return 302 /login?rd=$target_url;
}}
"""
_LOCATION_HALF = """\
auth_request /{name}/check;
error_page 401 = @{name}_login;
"""
_SERVER_LINES = "\n".join(
    f"    # {name}, with {name}-location.conf\n    #include /config/nginx/{name}-server.conf;\n" for name in PROVIDERS
)
_LOCATION_LINES = "\n".join(
    [
        "        # a password of nginx's own\n"
        '        #auth_basic "Restricted";\n        #auth_basic_user_file /config/nginx/.htpasswd;\n',
        *(
            f"        # {name}, with {name}-server.conf\n        #include /config/nginx/{name}-location.conf;\n"
            for name in PROVIDERS
        ),
    ]
)


def subdomain(service: str, port: int, *, version: str = "2025/07/18", extra: str = "") -> str:
    """A configuration of the shape that most samples have."""
    return f"""\
## Version {version}
# the container must be named {service}

server {{
    listen 443 ssl;
#    listen 443 quic;
    listen [::]:443 ssl;

    server_name {service}.*;

    include /config/nginx/ssl.conf;

    client_max_body_size 0;

{_SERVER_LINES}
    location / {{
{_LOCATION_LINES}
        include /config/nginx/proxy.conf;
        include /config/nginx/resolver.conf;
        set $upstream_app {service};
        set $upstream_port {port};
        set $upstream_proto http;
        proxy_pass $upstream_proto://$upstream_app:$upstream_port;

{extra}    }}
}}
"""


def subfolder(service: str, port: int, *, version: str = "2025/07/18") -> str:
    """A configuration for a path of the main name: a guarded location and an open one for programs."""
    lines = _LOCATION_LINES.replace("        ", "    ").rpartition("    # tinyauth")[0]
    body = f"""\
    include /config/nginx/proxy.conf;
    include /config/nginx/resolver.conf;
    set $upstream_app {service};
    set $upstream_port {port};
    set $upstream_proto http;
    proxy_pass $upstream_proto://$upstream_app:$upstream_port;
"""
    return f"""\
## Version {version}
# {service} must be told to serve below /{service}/

location ^~ /{service} {{
{lines}{body}}}

location ^~ /{service}/api {{
{body}}}
"""


def write_config(folder: Path) -> Path:
    """The /config of a SWAG with three services' samples and the two templates; its nginx folder."""
    nginx = folder / "nginx"
    for name in ("proxy-confs", "site-confs"):
        (nginx / name).mkdir(parents=True, exist_ok=True)
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "www").mkdir(exist_ok=True)
    certificate, key = _self_signed()
    files = {
        "keys/cert.crt": certificate,
        "keys/cert.key": key,
        "nginx/nginx.conf": _NGINX,
        "nginx/ssl.conf": "ssl_certificate /config/keys/cert.crt;\nssl_certificate_key /config/keys/cert.key;\n",
        "nginx/proxy.conf": _PROXY,
        "nginx/resolver.conf": "resolver 127.0.0.11 valid=1s;\n",
        "nginx/.htpasswd": "anna:$apr1$abcdefgh$0123456789012345678901\n",
        "nginx/site-confs/default.conf": _SITE,
        "nginx/proxy-confs/sonarr.subdomain.conf.sample": subdomain("sonarr", 8989),
        "nginx/proxy-confs/sonarr.subfolder.conf.sample": subfolder("sonarr", 8989),
        "nginx/proxy-confs/radarr.subdomain.conf.sample": subdomain("radarr", 7878),
        "nginx/proxy-confs/grafana.subdomain.conf.sample": subdomain("grafana", 3000),
        "nginx/proxy-confs/_template.subdomain.conf.sample": subdomain("<service>", 1).replace(" 1;", " <port>;"),
        "nginx/proxy-confs/_template.subfolder.conf.sample": subfolder("<service>", 1).replace(" 1;", " <port>;"),
        "nginx/proxy-confs/README": "What this folder is for.\n",
    }
    for provider in PROVIDERS:
        files[f"nginx/{provider}-server.conf"] = _SERVER_HALF.format(name=provider)
        files[f"nginx/{provider}-location.conf"] = _LOCATION_HALF.format(name=provider)
    for path, text in files.items():
        (folder / path).write_text(text)
    return nginx


def make_root(folder: Path) -> Path:
    """A file system with nginx, its modules, their libraries and BusyBox: what the image is, and a chroot can be."""
    script = Path(__file__).with_name("nginx.sh")
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing(f"nginx could not be had: {done.stderr.strip()}")
    tree = Path(done.stdout.strip())
    chosen = [tree / "usr/sbin/nginx", *sorted((tree / "usr/lib/nginx/modules").glob("*.so"))]
    for source in chosen:
        _copy(source, folder / source.relative_to(tree))
    for line in subprocess.run(["ldd", chosen[0]], capture_output=True, text=True, check=True).stdout.splitlines():
        library = next((word for word in line.split() if word.startswith("/")), None)
        if library:
            _copy(Path(library), folder / library.lstrip("/"))
    _copy(Path(program("busybox")), folder / "bin/busybox")
    for applet in ("sh", "sleep", "cat", "httpd", "nc"):
        (folder / "bin" / applet).symlink_to("busybox")
    for name in ("etc/nginx", "run", "tmp", "config", "dev", "var/lib/nginx", "var/log/nginx"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "var/log/nginx/error.log").touch()
    (folder / "etc/nginx/nginx.conf").symlink_to("/config/nginx/nginx.conf")
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (folder / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    return folder


def import_image(engine: DockerEngine, root: Path, *tags: str) -> None:
    """The file system as an image under these names."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(root, arcname=".")
    for tag in tags:
        subprocess.run(engine._argv("import", "-", tag), input=archive.getvalue(), capture_output=True, check=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    target.chmod(0o755)


def _self_signed() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem).decode(), private.decode()
