"""Rules between the keys of a batch file, and between it and the files that it names.

Knows what only shows when two things are compared: unknown sources, missing files, an empty draw, test
stems in a mix. The vote's rules are in `config.batch_vote`. It works on whatever can be read, so that one
defect does not hide the others.
"""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from pathlib import Path

from config.batch_adapters import ImportSpec, check_adapters
from config.batch_defect import nearest
from config.batch_labels import check_labels, check_margin
from config.batch_schema import MixEntry, SourceEntry, ValidationEntry
from config.batch_trainer import check_trainer
from config.batch_vote import check_vote
from config.batch_yaml import Document, KeyPath
from nonet.plural import counted
from nonet.questions.defect import Defect
from nonet.questions.mix import Example, Leak, Mix, Source, Tested, Use, content_bytes, draw, leaking_rows, stems_tested
from nonet.questions.problem import Problem
from nonet.questions.rows import read_problems
from nonet.questions.split import split_by_stem

LEAKS_SHOWN = 20
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
Rows = tuple[tuple[Problem, ...], tuple[Defect, ...]]


class Check:
    """One pass over a parsed batch file; `folder` is what its relative paths start from.

    After `run`, the attributes hold what is sound, and the document every defect of the keys.
    """

    def __init__(self, document: Document, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.sources: dict[str, Source] = {}
        self.mixes: dict[str, Mix] = {}
        self.examples: dict[str, tuple[Example, ...]] = {}
        self.leaked: dict[str, tuple[Leak, ...]] = {}
        self.test: tuple[Problem, ...] = ()
        self.tested: Tested = {}
        self.validation: tuple[Problem, ...] = ()
        self.read: dict[tuple[Path, bool], Rows] = {}
        self.imports: tuple[ImportSpec, ...] = ()

    def run(self) -> None:
        self.check_bases()
        self.check_sources()
        self.check_inference()
        self.check_validation()
        self.check_mixes()
        self.imports = check_adapters(self.document, self.folder)
        check_vote(self.document)

    def row_defects(self) -> tuple[Defect, ...]:
        """The defects of all files of rows, file by file, each once."""
        return tuple(dict.fromkeys(defect for _, defects in self.read.values() for defect in defects))

    def problems_of(self, source: str) -> tuple[Problem, ...]:
        return self.rows_of(source)[0]

    def rows_of(self, source: str) -> Rows:
        known = self.sources.get(source)
        return self.read.get((known.path, True), ((), ())) if known else ((), ())

    def base_model(self, written: str) -> tuple[str, bool]:
        """(model, local): the Hub name, or the absolute folder; a folder that exists wins over a Hub name."""
        explicit = written.startswith((".", "/"))
        folder = self.path_of(written)
        return (str(folder), True) if explicit or folder.is_dir() else (written, False)

    def path_of(self, written: str) -> Path:
        return Path(os.path.abspath(self.folder / written))

    def check_bases(self) -> None:
        one, several = (self.document.value.get(name) is not None for name in ("base", "bases"))
        if one and several:
            remedy = "Move base into bases under a name, or remove one of them."
            self.document.refuse(("bases",), "", "a batch has base or bases, not both", remedy)
        if not one and not several:
            remedy = "Add it (the frozen base model that every adapter is trained over), or bases (several, by name)."
            self.document.refuse(("base",), "", "the key is missing", remedy)
        if one:
            self.check_base(("base",))
        self.check_alike("bases")
        for name in self.document.mapping_at("bases"):
            self.check_base(("bases", name))

    def check_base(self, path: KeyPath) -> None:
        written, revision = self.document.text_at(*path, "model"), self.document.text_at(*path, "revision")
        self.check_tokens((*path, "inference"))
        if written is None:
            return
        model, local = self.base_model(written)
        place: KeyPath = (*path, "model")
        if not local and not _HUB_NAME.fullmatch(model):
            remedy = "Write owner/name as on the Hub, or ./folder for a local model."
            self.document.refuse(place, repr(model), "neither a Hub name nor a folder", remedy)
        if local and not (Path(model) / "config.json").is_file():
            remedy = f"Give the folder of a model: {model} has no config.json."
            self.document.refuse(place, repr(written), "no model is there", remedy)
        if local:
            check_trainer(self.document, path, Path(model))
        if local and revision is not None:
            remedy = "Remove the revision: a folder has none."
            self.document.refuse((*path, "revision"), repr(revision), "a folder with a revision", remedy)

    def read_rows(self, path: KeyPath, labelled: bool) -> Path | None:
        """Read the file of rows named at `path`, once; None, with a defect, where it cannot be read."""
        written = self.document.text_at(*path)
        if written is None:
            return None
        found = self.path_of(written)
        if (found, labelled) in self.read:
            return found
        try:
            if found.exists() and not (found.is_file() or found.is_dir()):  # a pipe would be read for ever
                raise OSError(errno.EINVAL, "not a plain file")
            self.read[found, labelled] = read_problems(found, labelled=labelled)
        except FileNotFoundError:
            remedy = f"Put it at {found}, or correct the path (relative to the batch file)."
            self.document.refuse(path, repr(written), "the file is missing", remedy)
            return None
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            remedy = f"Give a readable file, not {found}."
            self.document.refuse(path, repr(written), f"the file cannot be read: {said}", remedy)
            return None
        return found

    def check_sources(self) -> None:
        self.check_alike("sources")
        for name, value in self.document.mapping_at("sources").items():
            found = self.read_rows(("sources", name, "path"), labelled=True)
            entry = SourceEntry.sound(value)
            if entry is not None and found is not None:
                self.sources[name] = Source(name, found, entry.labels)
                check_labels(self.document, self.sources[name], self.problems_of(name))

    def check_alike(self, key: str) -> None:
        """Refuse names that differ in case alone: on some disks and for most readers they are one."""
        first: dict[str, str] = {}
        for name in self.document.mapping_at(key):
            folded = unicodedata.normalize("NFKC", name).casefold()
            if folded in first:
                message = f"the name differs from {first[folded]!r} in case alone"
                self.document.refuse((key, name), repr(name), message, "Rename one of them.")
            first.setdefault(folded, name)

    def check_inference(self) -> None:
        found = self.read_rows(("inference", "test"), labelled=False)
        if found is not None:
            self.test = self.read[found, False][0]
            self.tested = stems_tested(self.test)
        self.check_tokens(("inference",))

    def check_tokens(self, path: KeyPath) -> None:
        """Refuse a length where the answer is a letter; `path` is the section, or what a base sets of it."""
        tokens = self.document.mapping_at(*path).get("max_tokens")
        answer = self.document.mapping_at("inference").get("answer", "letter")
        if type(tokens) is int and tokens > 0 and answer == "letter":
            remedy = "Remove it, or write answer: text."
            self.document.refuse((*path, "max_tokens"), str(tokens), "a letter is one token", remedy)
        if path == ("inference",):
            self.check_permutations(answer)
            self.check_samples(answer)

    def check_permutations(self, answer: object) -> None:
        permutations = self.document.mapping_at("inference").get("permutations")
        if type(permutations) is int and permutations > 1 and answer == "text":
            remedy = "Remove it, or write answer: letter."
            message = "a reply in text has no log-probabilities to average"
            self.document.refuse(("inference", "permutations"), str(permutations), message, remedy)

    def check_samples(self, answer: object) -> None:
        """Refuse the settings of texts where the answer is a letter, and samples that would all be the same."""
        inference = self.document.mapping_at("inference")
        for name in ("samples", "temperature", "token_budget"):
            if name in inference and inference[name] not in (None, 1, 0) and answer == "letter":
                remedy = "Remove it, or write answer: text."
                self.document.refuse(("inference", name), str(inference[name]), "a letter is not sampled", remedy)
        samples, temperature = inference.get("samples", 1), inference.get("temperature")
        if type(samples) is int and samples > 1 and temperature in (0, 0.0) and temperature is not False:
            remedy = "Write a temperature such as 0.7, or samples: 1."
            message = f"at temperature 0 all {samples} samples are the same"
            self.document.refuse(("inference", "temperature"), str(temperature), message, remedy)

    def known_source(self, name: str, path: KeyPath) -> bool:
        """Whether a source of that name is declared (sound or not); notes a defect where it is not."""
        declared = self.document.mapping_at("sources")
        if name in declared:
            return True
        remedy = f"{nearest(name, declared)}Sources here: {', '.join(declared) or 'none'}."
        self.document.refuse(path, repr(name), "no source has this name", remedy)
        return False

    def check_validation(self) -> None:
        source = self.document.text_at("validation", "source")
        if source is None or not self.known_source(source, ("validation", "source")):
            return
        entry = ValidationEntry.sound(self.document.mapping_at("validation"))
        problems, defects = self.rows_of(source)
        if entry is None or defects or not problems:
            return
        try:
            self.validation = split_by_stem(problems, entry.fraction, entry.seed)[1]
        except ValueError as error:
            remedy = "Split a source with more stems, or remove the validation."
            self.document.refuse(("validation", "source"), repr(source), str(error), remedy)

    def check_mixes(self) -> None:
        self.check_alike("mixes")
        self.check_members()
        drawn: dict[bytes, str] = {}
        for name, value in self.document.mapping_at("mixes").items():
            whole = self.check_uses(name)
            entry = MixEntry.sound(value)
            if entry is None:
                continue
            uses = tuple(Use(use.source, use.first, use.min_margin) for use in entry.use)
            self.mixes[name] = Mix(name, uses, entry.sample, entry.seed, entry.allow_leak)
            self.check_draw(self.mixes[name], whole)
            if whole and self.examples[name]:
                other = drawn.setdefault(content_bytes(self.examples[name]), name)
                if other != name:
                    remedy = "Change what it uses, its sample or its seed, or remove it."
                    message = f"the mix draws the same examples as {other!r}: one adapter would vote twice"
                    self.document.refuse(("mixes", name), repr(name), message, remedy)

    def check_members(self) -> None:
        """Refuse a file without any member, and mixes without sources."""
        value = self.document.value
        lacking = {"mixes": "one adapter each, by name", "sources": "labelled files, by name"}
        for key, meaning in lacking.items():
            if key not in value and ("adapters" not in value or (key == "sources" and "mixes" in value)):
                self.document.refuse((key,), "", "the key is missing", f"Add it ({meaning}).")

    def check_uses(self, name: str) -> bool:
        """Check the sources of a mix; whether all of them are there and free of defects."""
        whole = True
        seen: set[str] = set()
        for at, use in enumerate(self.document.list_at("mixes", name, "use")):
            path: KeyPath = ("mixes", name, "use", at)
            source = self.document.text_at(*path) or self.document.text_at(*path, "source")
            if source is None:
                whole = False
                continue
            if source in seen:
                remedy = "Name each source of a mix once."
                self.document.refuse(path, repr(source), "the mix uses this source twice", remedy)
            seen.add(source)
            problems, defects = self.rows_of(source)
            first = use.get("first") if isinstance(use, dict) else None
            if not self.known_source(source, path) or defects or source not in self.sources:
                whole = False
                continue
            check_margin(self.document, path, source, problems)
            if type(first) is int and first > len(problems):
                remedy = f"Write at most {len(problems)}, or leave first out to use all rows."
                message = f"the source has {counted(len(problems), 'row')}"
                self.document.refuse((*path, "first"), str(first), message, remedy)
        return whole

    def check_draw(self, mix: Mix, whole: bool) -> None:
        problems = {use.source: self.problems_of(use.source) for use in mix.uses}
        examples = draw(mix, problems, {problem.stem for problem in self.validation})
        self.examples[mix.name] = examples
        self.leaked[mix.name] = leaking_rows(examples, self.tested)
        path: KeyPath = ("mixes", mix.name, "use")
        if whole and not examples:
            remedy = "Use more rows, or a lower min_margin: the validation's stems are left out of every mix."
            self.document.refuse(path, "no question", "the mix is empty", remedy)
        if self.leaked[mix.name] and not mix.allow_leak:
            told = [f"{'+'.join(leak.trained)} = {'+'.join(leak.tested)}" for leak in self.leaked[mix.name]]
            more = f", and {len(told) - LEAKS_SHOWN} more" if len(told) > LEAKS_SHOWN else ""
            noun = "a stem" if len(told) == 1 else f"{len(told)} stems"
            self.document.refuse(
                path,
                ", ".join(told[:LEAKS_SHOWN]) + more,
                f"the mix holds {noun} of the test (source:row = test row)",
                "Take these rows out, or write allow_leak: true in the mix to train on them knowingly.",
            )
