"""An S3-compatible server for tests: moto's, as a process of its own on loopback, spoken to over HTTP.

moto checks the condition of a write and carries it out in two steps; S3 does both in one. So requests are served one at
a time here. A file named `lose` in the server's folder makes it
lose the answer to the next conditional write: it is carried out, and answered with 500. One named `conflict` has it
refuse that write with 409, as S3 may when others write at the same moment.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

BUCKET = "nonet-tests"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "no-secret", "AWS_REGION": "us-east-1"}


class S3Server:
    """The server with one empty bucket, for the length of a with block."""

    def __init__(self, folder: Path) -> None:
        from workers.redis_server import free_port

        self.port = free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs that uses this server, but for NONET_HOME and NONET_CACHE."""
        return {"NONET_S3_ENDPOINT": self.endpoint, **CREDENTIALS}

    def __enter__(self) -> S3Server:
        with (self.folder / "server.log").open("wb") as log:
            command = [sys.executable, __file__, str(self.port), str(self.folder)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        self._make_bucket()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def lose_next_answer(self) -> None:
        (self.folder / "lose").touch()

    def refuse_next_write(self) -> None:
        (self.folder / "conflict").touch()

    def client(self) -> Any:
        import boto3

        names = ("aws_access_key_id", "aws_secret_access_key", "region_name")
        login = dict(zip(names, CREDENTIALS.values(), strict=True))
        return boto3.session.Session(**login).client("s3", endpoint_url=self.endpoint)

    def _make_bucket(self) -> None:
        from botocore.exceptions import EndpointConnectionError

        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            with suppress(EndpointConnectionError):
                self.client().create_bucket(Bucket=BUCKET)
                return
            time.sleep(0.1)
        raise AssertionError(f"no S3 server:\n{(self.folder / 'server.log').read_text()}")


App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def one_at_a_time(app: App, folder: Path) -> App:
    lock, lose, conflict = threading.Lock(), folder / "lose", folder / "conflict"

    def served(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys()
        conditional = bool(conditions) and environ["REQUEST_METHOD"] == "PUT"
        with lock:
            if conditional and conflict.exists():
                conflict.unlink()
                start_response("409 Conflict", [("Content-Type", "application/xml")], None)
                return [b"<Error><Code>ConditionalRequestConflict</Code><Message>try again</Message></Error>"]
            answer = app(environ, start_response)
            if conditional and lose.exists():
                lose.unlink()
                start_response("500 Internal Server Error", [], None)
                return [b""]
            return answer

    return served


def main(port: int, folder: Path) -> None:
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import run_simple

    def end_with_the_tests() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_the_tests, daemon=True).start()
    run_simple("127.0.0.1", port, one_at_a_time(create_backend_app("s3"), folder), threaded=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
