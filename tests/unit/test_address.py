"""Addresses of homes: what NONET_HOME may say, and what it then means on this machine."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
from pydantic import SecretStr

from cli.errors import explain
from cli.exit_codes import ExitCode
from config.settings import Settings
from nonet.stores.address import home_at
from nonet.stores.home import Home


@pytest.mark.parametrize("address", ["{}/a home", "file://{}/a%20home", "file://localhost{}/a%20home/"])
def test_a_folder_is_itself(tmp_path: Path, address: str) -> None:
    home = home_at(address.format(tmp_path), cache=tmp_path / "cache")
    assert home == Home(tmp_path / "a home")
    assert home.store.url == str(tmp_path / "a home")


@pytest.mark.parametrize(("address", "prefix"), [("s3://b-1/some/where/", "some/where/"), ("s3://b-1", "")])
def test_an_object_store_has_its_copies_in_a_cache(tmp_path: Path, address: str, prefix: str) -> None:
    home = home_at(address, cache=tmp_path)
    assert home.root.parent == tmp_path
    assert home.store.url == address.rstrip("/")
    assert home.store.free_bytes() > 0, "also before anything was copied"
    assert home.store.place(home.plan("r")) == f"s3://b-1/{prefix}runs/r/plan.json"


def test_homes_do_not_share_a_cache(tmp_path: Path) -> None:
    addresses = ("s3://a/b", "s3://a/b/c", "s3://a-b/c", "s3://a-b", "s3://a")
    roots = [home_at(address, cache=tmp_path).root for address in addresses]
    roots += [home_at(address, cache=tmp_path, endpoint="http://127.0.0.1:1").root for address in addresses]
    assert len(set(roots)) == len(roots)
    assert home_at("s3://a/b", cache=tmp_path).root == roots[0]


@pytest.mark.parametrize(
    "address", ["gs://a/b", "s3:///b", "s3://key:secret@a/b", "s3://a/b?x=1", "file://host/a", "http://a"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Settings(home=address, redis_url=SecretStr("redis://:hidden@127.0.0.1:1/0"))
    text, code = explain(caught.value) or ("", ExitCode.DEFECT)
    assert code is ExitCode.USAGE
    assert text.startswith("NONET_HOME: ")
    assert "s3://bucket/prefix" in text
    assert not [word for word in ("hidden", "secret") if word in text]


@pytest.mark.parametrize(
    "endpoint", ["storage:9000", "ftp://storage", "https://key:secret@storage", "https://storage/bucket"]
)
def test_an_endpoint_is_the_url_of_a_server(endpoint: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="s3_endpoint"):
        Settings(s3_endpoint=endpoint)
    assert Settings(s3_endpoint="https://storage:9000").s3_endpoint == "https://storage:9000"
