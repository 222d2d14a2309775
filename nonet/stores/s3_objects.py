"""Objects of an S3 bucket: the requests that a store is made of, their conditions, their errors as a file system's.

Knows boto3 and nothing of homes. A write may carry a condition on what it replaces (If-None-Match: *, If-Match), which
the server checks and carries out as one step: Amazon S3 since 2024, and most compatible servers.
"""

from __future__ import annotations

import errno
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ABSENT = "absent"
"""The condition that there is no such object."""
WRITER = "nonet-writer"
"""Metadata: who wrote an object. A request that was repeated because its answer got lost finds its own name."""

_MISSING = ("NoSuchKey", "NotFound", "404")
_CONFLICT = ("ConditionalRequestConflict", "OperationAborted", "409")
_LOGIN = "the AWS_* variables say who asks"
_TRIES = 8
_CONNECT_SECONDS, _READ_SECONDS, _REQUESTS = 5, 20, 3


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as a request found it: entity tag, size in bytes, seconds since 1970, metadata."""

    tag: str
    size: int
    modified: float
    metadata: Mapping[str, str]


class Objects:
    """The objects of one bucket; methods raise OSError (FileNotFoundError where there is no such object)."""

    def __init__(self, bucket: str, endpoint: str | None) -> None:
        self.bucket = bucket
        self._endpoint = endpoint

    def get(self, key: str, start: int = 0) -> tuple[Seen, bytes]:
        """An object with its content from byte `start` on."""
        more = {"Range": f"bytes={start}-"} if start else {}
        with self._errors(key):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=key, **more)
                return _seen(answer), answer["Body"].read()
            except self._client.exceptions.ClientError as error:
                if _code(error) != "InvalidRange":
                    raise
        return self.head(key), b""

    def head(self, key: str) -> Seen:
        """An object without its content."""
        with self._errors(key):
            return _seen(self._client.head_object(Bucket=self.bucket, Key=key))

    def put(
        self, key: str, data: bytes, *, condition: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> bool:
        """Write an object; False when `condition` (ABSENT, or the entity tag to be replaced) does not hold.

        True means that this very call wrote it, also where its answer was lost and it was sent again.
        """
        writer = uuid.uuid4().hex
        more = {} if condition is None else {"IfNoneMatch": "*"} if condition == ABSENT else {"IfMatch": condition}
        for left in reversed(range(_TRIES)):
            with self._errors(key):
                try:
                    self._client.put_object(
                        Bucket=self.bucket, Key=key, Body=data, Metadata={**(metadata or {}), WRITER: writer}, **more
                    )
                    return True
                except self._client.exceptions.ClientError as error:
                    code = _code(error)
                    if code in _CONFLICT and left:  # others write at this moment: the server asks to try again
                        time.sleep(random.uniform(0.02, 0.2))
                    elif condition is not None and code in ("PreconditionFailed", "412", *_MISSING):
                        return self._wrote(key, writer)
                    else:
                        raise
        raise AssertionError("unreachable")

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def below(self, prefix: str, *, deep: bool = True) -> Iterator[tuple[str, int, str]]:
        """(key, size, entity tag) of the objects whose key begins with `prefix`.

        Unless `deep`, what lies below a further "/" comes as one key that ends with it, of size -1.
        """
        more = {} if deep else {"Delimiter": "/"}
        with self._errors(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=prefix, **more
            ):
                yield from ((found["Prefix"], -1, "") for found in page.get("CommonPrefixes", ()))
                yield from ((found["Key"], found["Size"], found["ETag"]) for found in page.get("Contents", ()))

    def upload(self, path: Path, key: str) -> None:
        """Write the file `path` as an object, in parts where it is large."""
        with self._errors(key):
            self._client.upload_file(str(path), self.bucket, key)

    def download(self, key: str, path: Path) -> None:
        """Put an object's content into the file `path`; seen there whole or not at all."""
        part = path.with_name(f".part-{path.name}-{uuid.uuid4().hex}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._errors(key):
                self._client.download_file(self.bucket, key, str(part))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _wrote(self, key: str, writer: str) -> bool:
        try:
            return self.head(key).metadata.get(WRITER) == writer
        except FileNotFoundError:
            return False

    @cached_property
    def _client(self) -> Any:
        """Made at the first request, in the process that makes it: connections do not survive a fork."""
        import boto3
        from botocore.config import Config

        own: dict[str, Any] = {}
        if self._endpoint is not None:  # compatible servers: no names of buckets in DNS, no newer checksums
            own = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"}
            own["response_checksum_validation"] = "when_required"
        retries = {"mode": "standard", "max_attempts": _REQUESTS}
        config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries=retries, **own)
        return boto3.session.Session().client("s3", endpoint_url=self._endpoint, config=config)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        place = f"s3://{self.bucket}/{key}"
        try:
            yield
        except ClientError as error:
            raise _as_file_error(error, place) from error
        except Boto3Error as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, ClientError):
                raise _as_file_error(cause, place) from error
            raise OSError(errno.EIO, str(error), place) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise PermissionError(errno.EACCES, f"{error} ({_LOGIN})", place) from error
        except BotoCoreError as error:
            raise OSError(errno.EIO, str(error), place) from error


def _as_file_error(error: Any, place: str) -> OSError:
    code = _code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    message = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
    if code == "NoSuchBucket":
        return OSError(errno.ENODEV, "there is no such bucket", place)
    if code in _MISSING:
        return FileNotFoundError(errno.ENOENT, "there is no such object", place)
    if status in (401, 403):
        return PermissionError(errno.EACCES, f"{message} ({_LOGIN})", place)
    return OSError(errno.EIO, message, place)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _seen(answer: Mapping[str, Any]) -> Seen:
    modified = answer["LastModified"].timestamp()
    return Seen(answer["ETag"], answer["ContentLength"], modified, answer.get("Metadata", {}))
