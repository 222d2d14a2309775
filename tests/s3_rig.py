"""Rigs whose home is on an S3 server: the same fleet, with nothing shared but objects and Redis."""

from __future__ import annotations

import uuid
from pathlib import Path

from nonet.runs.attempt import Attempts
from nonet.stores.storage import Storage
from tests.rig import Rig
from tests.s3_server import BUCKET, S3Server


def s3_settings(root: Path, server: S3Server) -> dict[str, str]:
    """The NONET_* and AWS_* variables of a rig under `root` with its home on `server`."""
    name = f"{root.name}-{uuid.uuid4().hex[:8]}"  # rigs are told apart by their home, wherever their servers are
    return {"NONET_HOME": f"s3://{BUCKET}/{name}", "NONET_CACHE": str(root / "cache"), **server.environment}


def look_through_s3(rig: Rig) -> None:
    """Have the test itself look at the home of a rig that was made with `s3_settings`."""
    told = rig.environment
    changes = {"home": told["NONET_HOME"], "cache": Path(told["NONET_CACHE"]), "s3_endpoint": told["NONET_S3_ENDPOINT"]}
    rig.settings = rig.settings.model_copy(update=changes)
    rig.storage, rig.attempts = Storage(rig.settings.storage_home), Attempts(rig.settings.storage_home)
