"""From an exception to a sentence and an exit code. Knows every expected error of the layers below; prints nothing."""

from __future__ import annotations

import click
import pydantic
import redis
from kombu.exceptions import OperationalError

from cli.exit_codes import ExitCode
from config.flower_login import FlowerSettings
from config.settings import NoFleetError, NoStackError
from nonet.bases.fingerprint import NoBaseError
from nonet.questions.defect import DefectsError
from nonet.stores.storage import DamagedError
from nonet.voting.vote import MissingBallotsError
from workers.fleet import FleetRunsError
from workers.redis_server import NoRedisError


class RefusedError(Exception):
    """A command that cannot do what was asked: a sentence and its exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (DefectsError, ExitCode.BAD_INPUT),
    (NoBaseError, ExitCode.BAD_INPUT),
    (MissingBallotsError, ExitCode.BLOCKED),
    (NoFleetError, ExitCode.NO_FLEET),
    (NoRedisError, ExitCode.NO_FLEET),
    (FleetRunsError, ExitCode.NO_FLEET),
    (NoStackError, ExitCode.NO_FLEET),
    (redis.RedisError, ExitCode.NO_FLEET),
    (OperationalError, ExitCode.NO_FLEET),
    (DamagedError, ExitCode.STORAGE),
    (OSError, ExitCode.STORAGE),
)


def explain(error: BaseException) -> tuple[str, ExitCode] | None:
    """What to tell the user about an expected error, None for a defect of Nonet."""
    if isinstance(error, RefusedError):
        return str(error), error.code
    if isinstance(error, click.ClickException):
        return error.format_message(), ExitCode.USAGE
    if isinstance(error, pydantic.ValidationError):
        return _settings_text(error), ExitCode.USAGE
    for kind, code in _CODES:
        if isinstance(error, kind):
            return _text(error, code), code
    return None


def _text(error: BaseException, code: ExitCode) -> str:
    if isinstance(error, redis.AuthenticationError):
        return f"Redis refuses the login ({error}); check the password in NONET_REDIS_URL"
    if code is ExitCode.NO_FLEET and isinstance(error, redis.RedisError | OperationalError):
        return f"Redis is away ({error}); is the fleet up? `nonet doctor` looks"
    return str(error)


def _settings_text(error: pydantic.ValidationError) -> str:
    """Each wrong setting as `NONET_THREADS: …`; secrets are not shown."""
    lines = []
    for found in error.errors(include_url=False):
        if not found["loc"]:  # of several settings together; what was found holds all of them, secrets too
            lines.append(found["msg"].removeprefix("Value error, "))
            continue
        prefix = "NONET_FLOWER_" if error.title == FlowerSettings.__name__ else "NONET_"
        name = prefix + "_".join(str(part) for part in found["loc"]).upper()
        secret = any(part in name for part in ("REDIS_URL", "AUTH", "SECRET", "WEBHOOK")) or "@" in str(found["input"])
        shown = "" if secret else f" (found {found['input']!r})"
        lines.append(f"{name}: {found['msg']}{shown}")
    return "\n".join(lines)
