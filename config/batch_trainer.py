"""Rules between the trainer that a batch file asks for and its base. Opens a local base's config.json, nothing else."""

from __future__ import annotations

from pathlib import Path

from config.batch_yaml import Document, KeyPath
from nonet.adapters.tree_forward import KINDS
from nonet.bases.base import base_config
from nonet.runs.plan import JOINT


def check_trainer(document: Document, path: KeyPath, folder: Path) -> None:
    """Refuse joint training over the base in `folder`, named at `path`, where tokens meet elsewhere than in attention.

    What cannot be read is refused by who needs it; a base on the Hub is looked at by the worker that has it.
    """
    own: KeyPath = (*path, "training")
    place: KeyPath = own if "trainer" in document.mapping_at(*own) else ("training",)
    if document.mapping_at(*place).get("trainer") != JOINT:
        return
    try:
        kind = base_config(str(folder)).get("model_type")
    except (OSError, ValueError):
        return
    if kind is not None and kind not in KINDS:
        message = f"joint training is for {', '.join(sorted(KINDS))}, and {folder} is {kind!r}"
        document.refuse((*place, "trainer"), repr(JOINT), message, "Write trainer: peft.")
