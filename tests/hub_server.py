"""A model hub on loopback: the endpoints of Hugging Face and ModelScope that their real clients ask for a model, over
the files of one folder. It can break a file off in the middle, once, and wait there. Knows no Nonet."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

MODEL = "own/tiny"
COMMIT = "c0ffee" + "0" * 34


@dataclass
class HubServer:
    """What is served, what was asked for, and which file breaks: after half of it the connection ends (`stall`: only
    when `released` is set)."""

    folder: Path
    url: str = ""
    breaks: str = ""
    stall: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(file, the Range that was asked for) of each download."""
    halfway: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def ranges_of(self, name: str) -> list[str]:
        return [asked for file, asked in self.asked if file == name]


@contextmanager
def hub_server(folder: Path) -> Iterator[HubServer]:
    """Serve `folder` as the model MODEL until the end of the block."""
    hub = HubServer(folder)

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: HubServer

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: `HubServer.asked` has what tests look at."""

    def do_HEAD(self) -> None:
        self._route(body=False)

    def do_GET(self) -> None:
        self._route(body=True)

    def _route(self, body: bool) -> None:
        asked = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        if asked.path.startswith(f"/{MODEL}/resolve/{COMMIT}/"):
            self._file(asked.path.rpartition("/")[2], body)
        elif asked.path in (f"/api/models/{MODEL}/revision/main", f"/api/models/{MODEL}/revision/v1"):
            self._json({"id": MODEL, "sha": COMMIT, "siblings": [{"rfilename": f.name} for f in self.served.files()]})
        elif asked.path == f"/api/models/{MODEL}/tree/{COMMIT}":
            self._json([self._entry(file) for file in self.served.files()])
        elif asked.path == f"/api/v1/models/{MODEL}/repo/files":
            files = [{"Path": f.name, "Name": f.name, "Type": "blob", **self._told(f)} for f in self.served.files()]
            self._json({"Code": 200, "Success": True, "Data": {"Files": files}})
        elif asked.path == f"/api/v1/models/{MODEL}/repo":
            self._file(query["FilePath"], body)
        else:
            missing = "RevisionNotFound" if f"/models/{MODEL}/revision/" in asked.path else "RepoNotFound"
            self._json({"Code": 404, "Success": False, "Message": "no such model"}, 404, {"X-Error-Code": missing})

    def _entry(self, file: Path) -> dict[str, object]:
        return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _sha1(file)}

    def _told(self, file: Path) -> dict[str, object]:
        return {"Size": file.stat().st_size, "Sha256": hashlib.sha256(file.read_bytes()).hexdigest()}

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def _file(self, name: str, body: bool) -> None:
        file = self.served.folder / name
        data = file.read_bytes()
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", f'"{_sha1(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.served.asked.append((name, wanted))
            self._send(name, data, start)

    def _send(self, name: str, data: bytes, start: int) -> None:
        if name != self.served.breaks:
            self.wfile.write(data[start:])
            return
        self.served.breaks = ""
        self.wfile.write(data[start : (start + len(data)) // 2])
        self.wfile.flush()
        self.served.halfway.set()
        if self.served.stall:
            self.served.released.wait(30)
        self.close_connection = True


def _sha1(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
