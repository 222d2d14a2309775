"""Rules of the section `adapters` of a batch file: adapters that were trained elsewhere.

Knows the entries and the files that they name. Whether an adapter fits its base shows only when that is at hand:
`scheduler.imports` knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from config.batch_defect import nearest
from config.batch_schema import AdapterEntry
from config.batch_yaml import Document, KeyPath
from nonet.questions.defect import Defect
from nonet.sharing.checked import CheckedAdapter, check_adapter
from nonet.sharing.commit import PREFIX
from nonet.sharing.found import FoundAdapter, NotAnAdapterError, find_adapters

_KEY = re.compile(rf"[0-9a-f]{{{PREFIX},64}}")


@dataclass(frozen=True, slots=True)
class ImportSpec:
    """An adapter to import: the name it goes by here, the `base` it is worn by ("": the only one), and the adapter,
    or the `key` of one that is in the home already. `file` and `place` say where the batch file names it.
    """

    name: str
    base: str
    adapter: CheckedAdapter | None
    key: str
    allow_other_base: bool
    allow_leak: bool
    file: str
    place: str

    def defect(self, message: str, remedy: str) -> Defect:
        """A defect of what this imports."""
        return Defect(self.file, self.place, repr(self.adapter.place if self.adapter else self.key), message, remedy)


def check_adapters(document: Document, folder: Path) -> tuple[ImportSpec, ...]:
    """The imports of a batch file in `folder` that are sound; notes every defect of the others."""
    found = []
    content: dict[str, str] = {}
    for name, value in document.mapping_at("adapters").items():
        if name in document.mapping_at("mixes"):
            remedy = "Rename one of them: both are members."
            document.refuse(("adapters", name), repr(name), "a mix has this name", remedy)
        entry = AdapterEntry.sound(value)
        if entry is None or not _check_base(document, name, entry):
            continue
        spec = _spec(document, folder, name, entry)
        if spec is None:
            continue
        identity = spec.adapter.key if spec.adapter else spec.key
        other = content.setdefault(identity, name)
        if other != name:
            message = f"it is the same adapter as {other!r}, which would vote twice"
            document.refuse(("adapters", name, "import"), repr(entry.import_), message, "Remove one of them.")
        found.append(spec)
    return tuple(found)


def _check_base(document: Document, name: str, entry: AdapterEntry) -> bool:
    bases = document.mapping_at("bases")
    place: KeyPath = ("adapters", name, "base")
    if entry.base is None and len(bases) > 1:
        document.refuse(place, "", "there are several bases", f"Name the one that wears it: {', '.join(bases)}.")
        return False
    if entry.base is not None and entry.base not in bases:
        known = (
            f"{nearest(entry.base, bases)}Bases here: {', '.join(bases)}." if bases else "Remove it: there is one base."
        )
        document.refuse(place, repr(entry.base), "no base has this name", known)
        return False
    return True


def _spec(document: Document, folder: Path, name: str, entry: AdapterEntry) -> ImportSpec | None:
    place: KeyPath = ("adapters", name, "import")
    path = (folder / entry.import_).absolute()
    bases = list(document.mapping_at("bases"))
    base = entry.base or (bases[0] if bases else "")
    line = f"line {document.lines.get(place, 1)}, adapters.{name}.import"
    flags = (entry.allow_other_base, entry.allow_leak, document.file, line)
    if not path.exists() and _KEY.fullmatch(entry.import_):
        return ImportSpec(name, base, None, entry.import_, *flags)
    try:
        chosen = chosen_adapter({found.name: found for found in find_adapters(path)}, str(path), entry.adapter)
        return ImportSpec(name, base, check_adapter(chosen), "", *flags)
    except FileNotFoundError:
        remedy = f"Put it at {path}, or correct the path (relative to the batch file)."
        document.refuse(place, repr(entry.import_), "nothing is there, and it is no key of an imported adapter", remedy)
    except NotAnAdapterError as error:
        document.refuse(place, repr(entry.import_), str(error), "Give another adapter, or mend this one.")
    except OSError as error:
        document.refuse(place, repr(entry.import_), f"it cannot be read: {error}", "Make it readable.")
    return None


def chosen_adapter(found: Mapping[str, FoundAdapter], place: str, wanted: str | None) -> FoundAdapter:
    """The adapter called `wanted` (None: the only one); raises NotAnAdapterError."""
    names = ", ".join(found)
    if wanted is None and len(found) > 1:
        raise NotAnAdapterError(f"{place} holds {len(found)} adapters; say which, as adapter: {names}")
    if wanted is not None and wanted not in found:
        raise NotAnAdapterError(f"{place} holds no adapter {wanted!r}; it holds {names}")
    return found[wanted] if wanted is not None else next(iter(found.values()))
