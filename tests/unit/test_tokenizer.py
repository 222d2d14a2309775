"""The tokenizer without transformers: what it refuses, in words; a template is not trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nonet.bases.fingerprint import NoBaseError
from nonet.questions.tokenizer import Tokenizer

BASE = Path(__file__).resolve().parents[2] / "models" / "demo-base"
CHAT = [{"role": "user", "content": "<b> & 'x'"}]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, tmp_path)
    return tmp_path


def with_template(base: Path, template: object) -> Tokenizer:
    settings = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
    return Tokenizer(base)


def rendered(tokenizer: Tokenizer) -> str:
    return tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)


def test_missing_and_damaged_files_are_named(base: Path) -> None:
    (base / "tokenizer_config.json").write_text("{")
    with pytest.raises(NoBaseError, match=r"tokenizer_config\.json is not JSON"):
        Tokenizer(base)
    (base / "tokenizer.json").write_text("{}")
    with pytest.raises(NoBaseError, match=r"tokenizer\.json cannot be read"):
        Tokenizer(base)
    (base / "tokenizer.json").unlink()
    with pytest.raises(NoBaseError, match=r"has no tokenizer\.json; write one .*save_pretrained"):
        Tokenizer(base)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ messages[0]['content'] }}", "<b> & 'x'"),
        ("{{ messages | tojson }}", json.dumps(CHAT)),
        ("{{ eos_token }}", "<|im_end|>"),
        ("{% for m in messages %}\n  {% break %}\n{% endfor %}\nend", "end"),
        ([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}], "yes"),
    ],
)
def test_templates_are_rendered_as_transformers_does(base: Path, template: object, text: str) -> None:
    assert rendered(with_template(base, template)) == text


def test_file_beside_the_settings_comes_first(base: Path) -> None:
    (base / "chat_template.jinja").write_text("from the file")
    assert rendered(Tokenizer(base)) == "from the file"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, "has no chat template"),
        ("{% if %}", "is damaged"),
        ("{{ raise_exception('roles must alternate') }}", "refuses a prompt: roles must alternate"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses a prompt"),
        ("{{ messages.clear() }}", "refuses a prompt"),
    ],
)
def test_templates_that_cannot_be_used(base: Path, template: object, said: str) -> None:
    with pytest.raises(NoBaseError, match=said):
        rendered(with_template(base, template))
