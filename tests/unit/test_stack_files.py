"""A base's files in the old form: what changes the model is not lost on the way, and what would be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nonet.bases.stack_files import files_of_transformers_4, old_config, old_tokenizer

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "models" / "demo-base"


def test_type_and_rotary_base_move_to_their_old_places() -> None:
    new = {"dtype": "float16", "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}, "hidden_size": 8}
    assert old_config(new, "config.json") == {"torch_dtype": "float16", "rope_theta": 1e6, "hidden_size": 8}
    old: dict[str, Any] = {"torch_dtype": "float16", "rope_theta": 1e4}
    assert old_config(old, "config.json") == old


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rope_type is 'yarn'"),
        ({"quantization_config": {"checkpoint_format": "gptq_v2"}}, "checkpoint_format is 'gptq_v2'"),
    ],
)
def test_what_would_be_misread_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        old_config(config, "base/config.json")
    assert str(refused.value).startswith("base/config.json: ")
    assert str(refused.value).endswith("use another stack")


def test_merges_become_texts() -> None:
    rest = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}}}
    pairs = {**rest, "model": {**rest["model"], "merges": [["a", "b"], "c d"]}}  # type: ignore[dict-item]
    assert old_tokenizer(pairs)["model"]["merges"] == ["a b", "c d"]
    assert old_tokenizer(rest) == rest
    with pytest.raises(ValueError, match="holds a space"):
        old_tokenizer({"model": {"merges": [["a ", "b"]]}})


def test_folder_holds_the_old_form_and_links_to_the_rest(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"dtype": "float16"}')
    (base / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "model.safetensors").write_bytes(b"weights")
    with files_of_transformers_4(str(base)) as name:
        folder = Path(name)
        assert json.loads((folder / "config.json").read_text()) == {"torch_dtype": "float16"}
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        assert settings == {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages }}"}
        assert (folder / "model.safetensors").resolve() == base / "model.safetensors"
    assert not folder.exists()
    assert json.loads((base / "config.json").read_text()) == {"dtype": "float16"}, "the base is as it was"


def test_demo_base_is_taken(tmp_path: Path) -> None:
    with files_of_transformers_4(str(BASE)) as folder:
        assert {file.name for file in Path(folder).iterdir()} == {file.name for file in BASE.iterdir()}
        assert " " in json.loads((Path(folder) / "tokenizer.json").read_text("utf-8"))["model"]["merges"][0]
