"""Settings of one process: from the environment (NONET_*) and the home. Knows names and defaults; starts nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.redis_url import with_tls
from nonet.bases.hub import Hub
from nonet.stores.address import FORMS, default_cache, home_at
from nonet.stores.home import Home


class Settings(BaseSettings):
    """Every setting, each as NONET_<NAME> in the environment. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="NONET_", frozen=True, extra="ignore")

    home: str = Field(".nonet", description=f"shared storage: {FORMS}; who asks an s3 one, the AWS_* variables say")
    s3_endpoint: str | None = Field(None, description="URL of an S3-compatible server; default: Amazon's")
    cache: Path = Field(default_factory=default_cache, description="copies of what lies on an object store")
    redis_url: SecretStr | None = Field(None, description="redis://… of the fleet; default: the one of `nonet up`")
    redis_ca: FilePath | None = Field(None, description="CA of a rediss:// Redis; default: the system's")
    redis_cert: FilePath | None = Field(None, description="certificate that a rediss:// Redis asks this process for")
    redis_key: FilePath | None = Field(None, description="private key of NONET_REDIS_CERT")
    stacks: Path = Field(Path(".stacks"), description="folder with one Python environment a stack")
    train_stack: str = Field("cpu", description="stack that trains")
    transformers_stack: str = Field("cpu", description="stack of the transformers engine")
    vllm_stack: str = Field("vllm-cpu", description="stack of the vllm engine")
    hub: Hub = Field(Hub.HUGGING_FACE, description="where a base given by name comes from: huggingface, modelscope")
    engine: Literal["transformers", "vllm"] = Field("transformers", description="what `engine: auto` stands for")
    device: Literal["cpu", "cuda"] = Field("cpu", description="where the compute process computes")
    threads: int = Field(1, ge=1, description="CPU threads of a compute process")
    lease_seconds: float = Field(30.0, gt=0, description="life of a lease that is not renewed")
    tick_seconds: float = Field(5.0, gt=0, description="longest wait between two reconciliations")
    progress_timeout: float = Field(900.0, gt=0, description="a compute process silent for so long is killed")
    drain_seconds: float = Field(30.0, gt=0, description="time to checkpoint on SIGTERM")
    memory_limit: ByteSize | None = Field(None, description="most memory of a compute process, as 24GiB (Linux)")
    reserve: ByteSize = Field(
        ByteSize(256 * 2**20), description="free space on storage, as 256MiB, below which nothing new is begun"
    )
    failure_limit: int = Field(3, ge=1, description="failed attempts at one key before it is set aside")
    window: int = Field(16, ge=1, description="messages that wait in one queue at most")
    heartbeat_file: Path | None = Field(None, description="file that a worker or scheduler touches while it is well")
    webhook_url: SecretStr | None = Field(None, description="http(s)://… that schedulers tell of each end of a run")
    metrics_port: int = Field(5556, ge=0, le=65535, description="port of the metrics; 0: any, with `nonet up`")
    metrics_address: str = Field("127.0.0.1", description="where the metrics are served; they ask for no login")
    flower_port: int = Field(5555, ge=0, le=65535, description="port of Flower on loopback; 0: any, with `nonet up`")
    flower_url: str | None = Field(None, description="where browsers reach Flower; default: on this machine")
    page_port: int = Field(5557, ge=0, le=65535, description="port of `nonet serve`; 0: any, with `nonet up`")
    page_address: str = Field(
        "127.0.0.1", description="where the page listens; with a login only, unless it is loopback"
    )
    page_url: str | None = Field(None, description="where browsers reach the page; default: on this machine")

    @field_validator("home", mode="before")
    @classmethod
    def _address(cls, home: object) -> object:
        return str(home) if isinstance(home, Path) else home

    @field_validator("webhook_url")
    @classmethod
    def _on_the_web(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("a webhook begins with http:// or https://")
        return url

    @field_validator("home")
    @classmethod
    def _known(cls, home: str) -> str:
        home_at(home, cache=Path())  # raises ValueError for what is no address
        return home

    @field_validator("flower_url", "page_url")
    @classmethod
    def _to_link(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s\"'<>]+", url):
            raise ValueError("not an address to link to, as https://nonet.example.org")
        return url

    @field_validator("s3_endpoint")
    @classmethod
    def _url(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.match(r"https?://[^/@]+/?$", endpoint):
            raise ValueError("not the URL of a server, as https://storage.example.org:9000")
        return endpoint

    @property
    def flower_place(self) -> str:
        """Where a link leads that leads to Flower, without a slash at its end."""
        return (self.flower_url or f"http://127.0.0.1:{self.flower_port}").rstrip("/")

    @property
    def page_place(self) -> str:
        """The same for Nonet's own page."""
        return (self.page_url or f"http://127.0.0.1:{self.page_port}").rstrip("/")

    @property
    def storage_home(self) -> Home:
        return home_at(self.home, cache=self.cache, endpoint=self.s3_endpoint)

    @property
    def host(self) -> str:
        return socket.gethostname()

    def redis(self) -> str:
        """URL of the fleet's Redis; raises NoFleetError when there is none to be known."""
        if self.redis_url is not None:
            return self._with_tls(self.redis_url.get_secret_value())
        try:
            return self.redis_url_file.read_text().strip()
        except FileNotFoundError:
            raise NoFleetError(
                f"no fleet: NONET_REDIS_URL is not set and {self.redis_url_file} does not exist; "
                "start one with `nonet up`, or set NONET_REDIS_URL to the fleet's Redis"
            ) from None

    def _with_tls(self, url: str) -> str:
        return with_tls(url, self.redis_ca, self.redis_cert, self.redis_key)

    @model_validator(mode="after")
    def _tls_has_a_server(self) -> Settings:
        if self.redis_url is not None:
            self._with_tls(self.redis_url.get_secret_value())
        return self

    @property
    def redis_url_file(self) -> Path:
        """Where `nonet up` leaves the URL (mode 0600) of the Redis that it started."""
        return self.storage_home.fleet / "redis.url"

    def stack_python(self, stack: str) -> Path:
        """The Python of `stack`; raises NoStackError when it is not installed."""
        python = self.stacks.resolve() / stack / "bin" / "python"
        if not python.exists():
            raise NoStackError(f"stack {stack!r} is not installed: {python} does not exist; run `make stack-{stack}`")
        return python

    def installed_stacks(self) -> tuple[str, ...]:
        """Names of the stacks that are installed here."""
        return tuple(sorted(python.parent.parent.name for python in self.stacks.resolve().glob("*/bin/python")))


class NoFleetError(Exception):
    """There is no Redis to talk to."""


class NoStackError(Exception):
    """The Python environment of a stack is missing."""
