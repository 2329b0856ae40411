"""A dataset's folder: what lies where, what is known of each sample, and what the dataset was made from.

::

    dataset.json            config, classes, and digests of the inputs
    samples.jsonl           a line for each sample, in the order of the plan; each is sealed
    images/<split>/         the pictures
    previews/<split>/       the same with boxes drawn, if asked for
    labels/<split>/         YOLO, with data.yaml
    coco/                   instances_<split>.json
    voc/                    Annotations, ImageSets, labelmap.txt, and JPEGImages: links to the pictures
    report.html             of `report`, if it was asked for
    .manyhands/             of a run that goes on: the lines so far; and how long runs took

All but the last two depend on nothing but the config, the inputs, where these lie, and the versions that dataset.json
tells; previews also on the fonts that are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps import files
from manyhands.apps.synth.config import FOLDERS, SPLITS, splits_of
from manyhands.apps.synth.labels import Label
from manyhands.errors import OptionError

ABOUT, SAMPLES = "dataset.json", "samples.jsonl"
HIDDEN = ".manyhands"
JOURNAL, RUNS = f"{HIDDEN}/samples.jsonl", f"{HIDDEN}/runs.jsonl"
VERSION = 1
NAME = re.compile(r"-\d\d+-[0-9a-f]{12}$")  # how that of a sample ends; other pictures are not ours
TOLD = {"config", "augment", "versions", "classes", "inputs", "aside", "exported"}  # besides the version


class Record(NamedTuple):
    """What became of one sample. Without labels there is no picture: none of its objects found a place."""

    id: str
    split: str
    label: str
    size: tuple[int, int]
    background: str
    labels: tuple[Label, ...]
    unlabelled: tuple[str, ...]  # masks of distractors, as run lengths
    given_up: dict[str, int]  # objects that found no place, by reason
    preview: bool = False

    @property
    def written(self) -> bool:
        """There is a picture."""
        return bool(self.labels)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The places in one folder."""

    folder: Path
    suffix: str = "jpg"

    def picture(self, split: str, sample: str) -> Path:
        """Of this sample."""
        return self.folder / "images" / split / f"{sample}.{self.suffix}"

    def preview(self, split: str, sample: str) -> Path:
        """The same with boxes drawn."""
        return self.folder / "previews" / split / f"{sample}.jpg"

    def yolo(self, split: str, sample: str) -> Path:
        """Its labels."""
        return self.folder / "labels" / split / f"{sample}.txt"

    def voc(self, sample: str) -> Path:
        """Its labels."""
        return self.folder / "voc" / "Annotations" / f"{sample}.xml"

    def voc_picture(self, sample: str) -> Path:
        """A link to the picture."""
        return self.folder / "voc" / "JPEGImages" / f"{sample}.{self.suffix}"

    def coco(self, split: str) -> Path:
        """The labels of a split."""
        return self.folder / "coco" / f"instances_{split}.json"

    def files_of(self, record: Record, formats: Iterable[str]) -> list[Path]:
        """All files of one sample."""
        if not record.written:
            return []
        found = [self.picture(record.split, record.id)]
        found += [self.preview(record.split, record.id)] if record.preview else []
        found += [self.yolo(record.split, record.id)] if "yolo" in formats else []
        return found + ([self.voc(record.id), self.voc_picture(record.id)] if "voc" in formats else [])


# --- what it is made from ---------------------------------------------------------------------------------------


def read_about(folder: Path) -> dict[str, Any] | None:
    """What `write_about` has written; None if there is nothing. Raises OptionError."""
    path = folder / ABOUT
    try:
        files.check_regular(path)
        told = json.loads(path.read_text(encoding="utf-8"))
        version = told["version"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OptionError(f"{path} cannot be read: {error}; it was changed, or is of another program") from None
    if version != VERSION:
        raise OptionError(f"{path} is of version {version}; this program reads {VERSION}")
    if missing := TOLD - told.keys():
        raise OptionError(
            f"{path} does not tell {', '.join(sorted(missing))}; it was changed, or is of another program"
        )
    if told.pop("seal", None) != _seal_of(told):
        raise OptionError(f"{path} was changed by hand: put it back, or name another folder")
    return dict(told)


def _seal_of(told: dict[str, Any]) -> str:
    """Changed by accident or by hand, it does not fit any more."""
    plain = json.dumps(told, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(plain.encode(errors="surrogatepass")).hexdigest()[:16]


def about_of(folder: Path) -> dict[str, Any]:
    """The same, of a dataset that must be there. Raises OptionError."""
    about = read_about(folder)
    if about is None:
        raise OptionError(f"there is no dataset in {folder}: it has no {ABOUT}")
    return about


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else writes to it meanwhile. Raises OptionError."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder, wait=False))
        except BlockingIOError:
            raise OptionError(f"another run is making the dataset in {folder}: wait for it, or end it") from None
        yield


def check_target(path: Path) -> None:
    """Raise OptionError for a file in a dataset's folder: only the dataset itself writes there."""
    for folder in path.resolve().parents:
        if _is_one(folder):
            raise OptionError(f"{path} is in the dataset {folder}: name another place")


def _is_one(folder: Path) -> bool:
    """Others call files so as well."""
    try:
        files.check_regular(folder / ABOUT)
        return bool(json.loads((folder / ABOUT).read_bytes()).keys() >= TOLD)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def holds_other_files(folder: Path) -> bool:
    """Something else than what is left of a run that was ended before it had begun."""
    return any(path.name != HIDDEN and not path.name.startswith(files.UNFINISHED) for path in folder.iterdir())


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Config, classes and inputs, as a whole; sealed, since by half-changed settings nothing could be made again."""
    about = about | {"seal": _seal_of(about)}
    with files.whole(folder / ABOUT) as unfinished:
        unfinished.write_text(json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def formats_of(about: dict[str, Any]) -> list[str]:
    """Those that were written with the pictures, and later."""
    return [*about["config"]["formats"], *about["exported"]]


def difference(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of the config and of the inputs is not as it was, a line each."""
    lines = []
    for name in sorted(before["config"] | now["config"]):
        if name not in FOLDERS:
            old, new = before["config"].get(name), now["config"].get(name)
            lines += [f"{name}: was {old!r}, is {new!r}"] if old != new else []
    if before["augment"] != now["augment"]:
        lines.append(
            "augment: another function"
            if now["augment"] and before["augment"]
            else "augment: a function, and there was none"
            if now["augment"]
            else "augment: it was begun with a function of yours: give that one (augment=, --augment)"
        )
    old_inputs, new_inputs = before["inputs"], now["inputs"]
    for key in sorted(old_inputs | new_inputs):
        if key not in new_inputs:
            lines.append(f"{key}: is gone")
        elif key not in old_inputs:
            lines.append(f"{key}: is new")
        elif old_inputs[key] != new_inputs[key]:
            lines.append(f"{key}: has changed")
    return lines


# --- records ----------------------------------------------------------------------------------------------------


def note(folder: Path, record: Record) -> None:
    """Add the record of a sample of which all files are in their places."""
    files.append_line(folder / JOURNAL, b"\n" + _line(record))  # a line that was cut short before stays alone


def read_records(folder: Path) -> dict[str, Record]:
    """By identity: those of ended runs, and of one that was ended in the midst."""
    known: dict[str, Record] = {}
    for name in (SAMPLES, JOURNAL):
        with contextlib.suppress(FileNotFoundError):
            files.check_regular(folder / name)
            found = map(_record, (folder / name).read_bytes().splitlines())
            known |= {record.id: record for record in found if record is not None}
    return known


def read_finished(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    """What a dataset is made from, and its records in order.

    Raises:
        OptionError: it is none, or is not finished, or records were changed or are missing.
    """
    about, records, fault = read_ended(folder)
    if fault:
        raise OptionError(fault)
    return about, records


def read_ended(folder: Path) -> tuple[dict[str, Any], list[Record], str]:
    """The same, also if records were changed, which are left out, or are missing: that is what is told last."""
    about = about_of(folder)
    if not (folder / SAMPLES).exists() or (folder / JOURNAL).exists():
        raise OptionError(f"the dataset in {folder} is not finished: resume it first")
    records = list(read_records(folder).values())
    lines = len((folder / SAMPLES).read_bytes().splitlines())
    changed = f"lines that were changed or damaged: {lines - len(records):,} of {lines:,}"
    fault = changed if lines > len(records) else _missing(folder, about, records)
    return about, records, f"{folder / SAMPLES}: {fault}; `resume` makes these samples again" if fault else ""


def _missing(folder: Path, about: dict[str, Any], records: list[Record]) -> str:
    """What is told of lines that are missing, as far as one can know without the inputs; empty: of none."""
    planned = _planned(about)
    if len(records) < planned:
        return f"lines are missing: {planned - len(records):,} of {planned:,}"
    known = {record.id for record in records}
    suffix = about["config"]["image_format"]
    names = {path.stem for path in folder.glob(f"images/*/*.{suffix}") if NAME.search(path.stem)} - known
    if names:
        return f"lines are missing: those of {len(names):,} pictures that are there"
    return "" if records else "all lines are missing"


def _planned(about: dict[str, Any]) -> int:
    """How many samples there are; 0 with splits, where it depends on which inputs are the same."""
    config, kinds = about["config"], Counter(key.partition("/")[0] for key in about["inputs"])
    if len(splits_of(config["split"])) > 1:
        return 0
    total: int = kinds["objects"] * kinds["backgrounds"] * config["times"]
    return total if config["count"] is None else min(config["count"], total)


def write_records(folder: Path, records: Iterable[Record]) -> None:
    """All of them in order; the journal has done its duty."""
    with files.whole(folder / SAMPLES) as unfinished, unfinished.open("wb") as file:
        file.writelines(_line(record) + b"\n" for record in records)
    (folder / JOURNAL).unlink(missing_ok=True)


def _line(record: Record) -> bytes:
    told = record._asdict() | {"labels": [label._asdict() for label in record.labels]}
    return json.dumps(told | {"seal": _seal_of(told)}, ensure_ascii=False).encode()


def _record(line: bytes) -> Record | None:
    """What `_line` has written. None if the run was killed then, or if somebody has changed it."""
    try:
        told = json.loads(line)
        is_ours = told.pop("seal") == _seal_of(told)
        if not is_ours or told["id"] != Path(told["id"]).name or told["split"] not in SPLITS:
            return None  # a seal can be made again; paths to write to are made of these two
        found = tuple(Label(**label | {"box": tuple(label["box"])}) for label in told["labels"])
        return Record(**told | {"labels": found, "size": tuple(told["size"]), "unlabelled": tuple(told["unlabelled"])})
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def count_given_up(records: Iterable[Record]) -> Counter[str]:
    """Objects that found no place, by reason."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.given_up)
    return total
