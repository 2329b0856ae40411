"""What somebody might not expect of a dataset, in words: what came out empty, why, and what to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from manyhands.apps.synth import dataset
from manyhands.apps.synth.config import Config, splits_of
from manyhands.apps.synth.dataset import Record
from manyhands.apps.synth.planning import Plan, Stock
from manyhands.apps.synth.rendering import EMPTIED

NAMED = 3
# Why objects find no place, and what to look at then.
REASONS = {
    "too large": ("scale",),
    "small": ("scale", "min_size"),
    "aspect": ("aspect",),
    "truncated": ("max_truncation",),
    "hidden": ("min_visible",),
    "overlap": ("max_overlap",),
    EMPTIED: ("what augment returns",),
}


def found_no_place(given_up: Mapping[str, int]) -> str:
    """How often, by reason, and what to change.

    >>> found_no_place({"small": 2, "aspect": 12, "too large": 1})
    'found a place (12 aspect, 2 small, 1 too large): look at aspect, scale and min_size'
    """
    ordered = Counter(given_up).most_common()
    told = ", ".join(f"{count:,} {reason}" for reason, count in ordered)
    *others, last = dict.fromkeys(one for reason, _ in ordered for one in REASONS[reason])
    return f"found a place ({told}): look at {', '.join(others)}{' and ' * bool(others)}{last}"


def notes_on(records: Sequence[Record], plan: Plan, config: Config) -> Iterator[str]:
    """On all samples of a dataset; of one without any picture there is more to say than a note."""
    written = [record for record in records if record.written]
    if not written:
        return
    labelled = {label.name for record in written for label in record.labels}
    for name in plan.classes:
        if name not in labelled:
            yield f"class {name}: {_why_never([record for record in records if record.label == name])}"
    for split in splits_of(config.split):
        if not any(record.split == split for record in written):
            yield f"{split}: {_why_empty([one for one in records if one.split == split], plan.stocks[split])}"
    if "poisson" in config.blend:
        yield "with poisson, objects can nearly disappear, and are labelled all the same: look whether they can be seen"


def notes_on_opaque(keys: Sequence[str]) -> Iterator[str]:
    """Objects that are wanted as a rectangle, or that somebody forgot to cut out."""
    if keys:
        named = ", ".join(keys[:NAMED]) + f" and {len(keys) - NAMED:,} more" * (len(keys) > NAMED)
        yield f"nothing is cut away from {named}: the alpha channel or mask covers the whole picture"


def _why_never(own: Sequence[Record]) -> str:
    if not own:
        return "no picture has one of its objects: raise count"
    return _in_none(own)


def _why_empty(own: Sequence[Record], stock: Stock) -> str:
    if not own and stock.objects and stock.backgrounds:
        return "there is no picture in it, since count is too small for this split: raise it"
    if not own:
        return "there is no picture in it, since there are too few inputs: give more, or leave it out of split"
    return f"there is no picture in it: {_in_none(own)}"


def _in_none(own: Sequence[Record]) -> str:
    return f"in none of its samples ({len(own):,}) an object {found_no_place(dataset.count_given_up(own))}"
