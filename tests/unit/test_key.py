"""Keys that share all inputs but one are those that are made one by one."""

from __future__ import annotations

import pytest

from nonet.stores.key import key_of, keys_of


def test_many_keys_at_once_are_those_of_one_at_a_time() -> None:
    inputs = {"adapter": "a" * 64, "prompt": {"system": '选 "\0" \\u0000', "prefix": ""}, "max_length": 512}
    shards = ["0f" * 32, "ab" * 32, "c"]
    assert keys_of("ballots", inputs, "shard", shards) == [
        key_of("ballots", {**inputs, "shard": shard}) for shard in shards
    ]


_OTHERS = [({"zone": 1}, "a"), ({"shard": "b"}, "a"), ({}, 'a"'), ({}, "é"), ({}, "")]


@pytest.mark.parametrize(("inputs", "value"), _OTHERS)
def test_what_would_give_another_key_is_refused(inputs: dict[str, object], value: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        keys_of("ballots", inputs, "shard", [value])
