"""A paced rig on a Redis with TLS alone and config/redis/users.acl: each process has the user that is meant for it."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from tests.faults.paced import PacedRig, World
from tests.rig import ROOT
from workers.redis_server import free_port

USERS = ("nonet", "flower", "metrics", "admin")
_CONFIG = """\
bind 127.0.0.1
port 0
tls-port {port}
tls-cert-file {folder}/server.crt
tls-key-file {folder}/server.key
tls-ca-cert-file {folder}/ca.crt
tls-auth-clients {clients}
aclfile {folder}/users.acl
dir {folder}
appendonly yes
maxmemory-policy noeviction
save ""
logfile {folder}/redis.log
"""


class SecuredRig(PacedRig):
    """`redis`, `scheduler`, `all…` as the user `nonet`, `flower…` and `metrics` as their own."""

    def __init__(self, root: Path, *, clients: str = "optional", **settings: str) -> None:
        super().__init__(root, **settings)
        self.passwords = {user: secrets.token_urlsafe(24) for user in USERS}
        folder = self.fleet
        authority(folder)
        signed(folder, "server", "127.0.0.1")
        signed(folder, "client", "127.0.0.1")
        self._port = free_port()
        (folder / "redis.conf").write_text(_CONFIG.format(port=self._port, folder=folder, clients=clients))
        acl = (ROOT / "config" / "redis" / "users.acl").read_text("utf-8")
        for user in USERS:
            acl = acl.replace(f"PASSWORD-OF-{user.upper()}", self.passwords[user])
        (folder / "users.acl").write_text(acl)
        ca = f"ssl_ca_certs={quote(str(folder / 'ca.crt'))}&ssl_cert_reqs=required"
        (folder / "redis.url").write_text(f"{self.url_of('admin')}?{ca}\n")
        self.url = self.url_of("nonet")
        self.environment |= {"NONET_REDIS_URL": self.url, "NONET_REDIS_CA": str(folder / "ca.crt")}
        self.settings = self.settings.model_copy(
            update={"redis_url": SecretStr(self.url), "redis_ca": folder / "ca.crt"}
        )

    def url_of(self, user: str) -> str:
        return f"rediss://{user}:{self.passwords[user]}@127.0.0.1:{self._port}/0"

    def start(self, *names: str) -> None:
        for name in names:
            if name in ("flower", "metrics"):
                self.worlds[name] = World({"NONET_REDIS_URL": self.url_of(name)})
                self._spawn(name, name, "--port", str(self.port_of(name)))
            else:
                super().start(name)

    def port_of(self, name: str) -> int:
        """The port that Flower or the exporter of this rig listens on."""
        ports: dict[str, int] = self.__dict__.setdefault("_ports", {})
        return ports.setdefault(name, free_port())


def authority(folder: Path) -> None:
    """A certificate authority: ca.key, ca.crt."""
    _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt")


def signed(folder: Path, name: str, address: str) -> None:
    """A certificate for an IP address, signed by the authority in `folder`: `name`.key, `name`.crt."""
    _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"subjectAltName=IP:{address}\n")
    issuer = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *issuer, "-out", f"{name}.crt", "-extfile", f"{name}.ext")


def _openssl(folder: Path, command: str, *arguments: str) -> None:
    subject = ("-subj", f"/CN=nonet test {arguments[0]}") if command == "req" else ()
    subprocess.run(["openssl", command, *arguments, *subject], cwd=folder, check=True, capture_output=True)
