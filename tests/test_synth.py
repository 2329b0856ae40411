"""Datasets by cut and paste: labels that are exact, the same bytes again and again, and inputs out of order."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections import Counter

import numpy as np
import programs
import pytest
from PIL import Image
from watching import eventually

import manyhands as mh
from manyhands.apps import files, synth
from manyhands.apps.synth import dataset, inputs, labels, placing, planning

pytest.importorskip("cv2")

COLOURS = {"cat": (255, 0, 255), "dog": (0, 255, 0)}  # in no background
PLAIN = {"brightness": 1, "blur": 0, "scale": 1}  # what is drawn stays as it is


def background(seed, width=96, height=64):
    """Greys: no object has one."""
    grey = np.random.default_rng(seed).integers(40, 200, (height, width, 1), dtype=np.uint8)
    return Image.fromarray(np.repeat(grey, 3, axis=2))


def cut_out(colour, width=24, height=16, *, hole=False):
    pixels = np.zeros((height + 4, width + 4, 4), np.uint8)
    pixels[2:-2, 2:-2] = (*colour, 255)
    if hole:
        pixels[height // 2 : height // 2 + 4, width // 2 : width // 2 + 4, 3] = 0
    return Image.fromarray(pixels)


@pytest.fixture
def place(tmp_path):
    for name in ("photo/cat", "photo/dog", "back"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(4):
        cut_out(COLOURS["cat"], 20 + 3 * number, hole=number % 2 == 1).save(tmp_path / f"photo/cat/c{number}.png")
        background(number).save(tmp_path / f"back/b{number}.png")
    cut_out(COLOURS["dog"], 12, 30).save(tmp_path / "photo/dog/d 狗.png")
    return tmp_path


def config(place, **settings):
    return synth.Config(**{"objects": place / "photo", "backgrounds": place / "back", "seed": 7} | settings)


def make(place, out="ds", **settings):
    return synth.generate(config(place, **settings), place / out, workers=2)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).copy()


def size_of(path):
    with Image.open(path) as image:
        return image.size


def records(out):
    return dataset.read_finished(out)[1]


def picture_of(out, record):
    """One in PNG, of the only split."""
    return out / "images" / "train" / f"{record.id}.png"


def tree(out):
    """A digest of every file but those that only tell how long things took."""
    files = [path for path in out.rglob("*") if path.is_file() and dataset.HIDDEN not in path.parts]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- labels, pure -------------------------------------------------------------------------------------------


def test_masks_and_run_lengths_are_those_of_pycocotools():
    masks = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for _ in range(300):
        height, width = map(int, rng.integers(1, 60, 2))
        mask = rng.random((height, width)) < rng.choice([0.02, 0.5, 0.9, 1.0])
        box = labels.box_of(mask)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        rle = labels.compressed(labels.runs_of(mask[y0:y1, x0:x1], box, (width, height)))
        reference = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == reference["counts"].decode()
        assert list(masks.toBbox(reference)) == [x0, y0, x1 - x0, y1 - y0]
        assert (labels.mask_of(rle, (width, height)) == mask).all()


def test_the_three_notations_of_one_box():
    label = synth.Label("a&b", (0, 5, 50, 25), 900, "", 1.0, 0.0, "")
    assert labels.yolo_line(label, (100, 50), ["x", "a&b"]) == "1 0.250000000 0.300000000 0.500000000 0.400000000"
    xml = labels.voc_xml([label], (100, 50), "JPEGImages", "p.jpg")
    assert "<xmin>1</xmin><ymin>6</ymin><xmax>50</xmax><ymax>25</ymax>" in xml
    assert "<name>a&amp;b</name>" in xml
    assert labels.coco_annotation(label, 3, 1, (100, 50), ["x", "a&b"])["bbox"] == [0, 5, 50, 20]


def seen_in(picture):
    """The box around each class's colour in a file, as plainly as can be."""
    pixels = pixels_of(picture)
    boxes = {}
    for name, colour in COLOURS.items():
        rows, columns = np.nonzero((pixels == colour).all(axis=2))
        if len(rows):
            boxes[name] = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, len(rows))
    return {name: tuple(map(int, box)) for name, box in boxes.items()}


def test_boxes_are_the_extent_of_what_is_seen_to_the_pixel_also_at_the_edges(place):
    """With one object in a picture, all pixels of its colour are its own."""
    settings = {"times": 40, "max_truncation": 0.5, "aspect": (0.05, 20), "image_format": "png", **PLAIN}
    summary = make(place, **settings)
    assert summary.written == 5 * 4 * 40
    touched = set()
    for record in records(summary.out):
        (label,) = record.labels
        assert seen_in(picture_of(summary.out, record)) == {label.name: (*label.box, label.area)}
        x0, y0, x1, y1 = label.box
        touched |= {side for side, at in zip(["left", "top"], (x0, y0), strict=True) if at == 0}
        touched |= {side for side, at, end in (("right", x1, 96), ("bottom", y1, 64)) if at == end}
    assert touched == {"left", "top", "right", "bottom"}
    assert synth.verify(summary.out, workers=2, progress=False).ok


def test_poisson_takes_objects_of_any_size(place):
    """Its solver does not: it needs three pixels each way."""
    (place / "other").mkdir()
    for width, height in ((1, 1), (1, 9), (2, 5), (9, 2)):
        pixels = np.zeros((11, 11, 4), np.uint8)
        pixels[1 : 1 + height, 1 : 1 + width] = 255
        Image.fromarray(pixels).save(place / "other" / f"{width}-{height}.png")
    summary = make(place, blend="poisson", scale=1, distractors=place / "other", distractors_per_image=(4, 6), times=3)
    assert summary.written == 60


def test_objects_that_cover_one_another_are_labelled_as_far_as_they_are_seen(place):
    """One cat, one dog: what is left of the lower one is its box, and nobody is labelled who is not seen."""
    shutil.rmtree(place / "photo" / "cat")
    (place / "photo" / "cat").mkdir()
    cut_out(COLOURS["cat"], 60, 50).save(place / "photo/cat/large.png")
    summary = make(
        place, times=60, objects_per_image=(2, 2), max_overlap=1, min_visible=0, min_size=1, aspect=(0.01, 100),
        image_format="png", **PLAIN,
    )  # fmt: skip
    for record in records(summary.out):
        names = [label.name for label in record.labels]
        if len(set(names)) == len(names):
            seen = seen_in(picture_of(summary.out, record))
            assert seen == {label.name: (*label.box, label.area) for label in record.labels}
    assert sum(label.visible < 1 for record in records(summary.out) for label in record.labels) > 10


def test_what_would_be_hidden_is_refused_and_nothing_has_changed():
    settings = synth.Config(objects="o", backgrounds="b", max_overlap=1, min_visible=0, min_size=1)
    layout = placing.Layout(settings, np.zeros((40, 40), np.uint16))
    small, large = np.full((5, 5), 255, np.uint8), np.full((20, 20), 255, np.uint8)
    layout.add(small, (10, 10), "small", "cat")
    before = layout.owners.copy()
    with pytest.raises(placing.Refused, match="hidden"):
        layout.add(large, (5, 5), "large", "dog")
    assert (layout.owners == before).all()
    assert [one.box for one in layout.placed] == [(10, 10, 15, 15)]


def test_the_rules_for_places_hold(place):
    summary = make(
        place, times=10, objects_per_image=(3, 5), max_overlap=0.2, min_visible=0.6, max_truncation=0.1, min_size=10,
        aspect=(0.3, 2.5), scale=(0.4, 1.5), rotate=(-40, 40),
    )  # fmt: skip
    found = [label for record in records(summary.out) for label in record.labels]
    assert len(found) > summary.written
    for label in found:
        x0, y0, x1, y1 = label.box
        assert min(x1 - x0, y1 - y0) >= 10
        assert 0.3 <= (x1 - x0) / (y1 - y0) <= 2.5
        assert label.visible >= 0.6
        assert label.truncation <= 0.1


@pytest.mark.parametrize("blend", ["hard", "gaussian", "poisson"])
def test_whatever_is_drawn_every_reader_finds_what_is_seen_and_nothing_else_has_changed(place, blend):
    (place / "other").mkdir()
    cut_out((250, 250, 0), 14, 14).save(place / "other" / "leaf.png")
    summary = make(
        place, times=2, objects_per_image=(1, 3), distractors=place / "other", distractors_per_image=(1, 2),
        rotate=(-30, 30), shear=(-10, 10), perspective=0.1, flip=True, blend=blend, split=(0.5, 0.5), preview=2,
    )  # fmt: skip
    verified = synth.verify(summary.out, workers=2, progress=False)
    assert verified.problems == ()
    assert any(record.unlabelled for record in records(summary.out))
    assert {label.name for record in records(summary.out) for label in record.labels} == {"cat", "dog"}
    assert len(list((summary.out / "previews").rglob("*.jpg"))) == 2


def test_the_readers_are_there_and_read_all_formats(place):
    """So that nothing above was left out."""
    for name in ("pycocotools", "globox", "supervision"):
        pytest.importorskip(name)
    told = synth.verify(make(place).out, progress=False)
    assert len(told.checks) == 2 + 1 + 3 + 3
    assert told.left_out == ()


# --- what verify finds --------------------------------------------------------------------------------------


def replace_in(path, old, new):
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1))


def shift_box(out, nth):
    replace_in(nth("voc/Annotations"), r"<xmin>(\d+)", "<xmin>1\\1")


def swap_class(out, nth):
    replace_in(nth("labels/train"), "^0 ", "1 ")


def cut_coco(out, nth):
    replace_in(out / "coco" / "instances_train.json", r'"area": (\d+)', r'"area": 1\1')


def paint_pixel(out, nth):
    picture = nth("images/train")
    pixels = pixels_of(picture)
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(picture)


def cut_picture(out, nth):
    picture = nth("images/train")
    picture.write_bytes(picture.read_bytes()[:200])


def empty_picture(out, nth):
    nth("images/train").write_bytes(b"")


def swap_linked(out, nth):
    linked = nth("voc/JPEGImages")
    other = max(linked.parent.iterdir()).read_bytes()
    linked.unlink()
    linked.write_bytes(other)


def replace_label(out, nth):
    label = nth("labels/train")
    label.unlink()
    label.mkdir()


def lose_list(out, nth):
    (out / "voc" / "ImageSets" / "Main" / "train.txt").unlink()


def lose_label(out, nth):
    nth("labels/train").unlink()


def add_picture(out, nth):
    (out / "images" / "train" / "foreign.jpg").write_bytes(b"x")


HARM = {
    shift_box: ["{}.xml does not say what was made", "VOC, read by globox: {}: "],
    swap_class: ["{}.txt does not say what was made"],
    cut_coco: ["instances_train.json does not say", "COCO, read by pycocotools: train: ValueError"],
    paint_pixel: ["{}: its picture is not what its seed gives"],
    cut_picture: ["{}: its picture is "],
    empty_picture: ["{}: its picture is damaged"],
    swap_linked: ["{}: its picture in voc is not what its seed gives"],
    replace_label: ["{}.txt does not say what was made"],
    lose_list: ["train.txt is missing"],
    lose_label: ["{}.txt is missing"],
    add_picture: ["foreign.jpg is no file of the dataset"],
}


def test_verify_finds_all_that_is_wrong(place):
    """Each harm is done to another sample."""
    pytest.importorskip("globox")
    out = make(place).out
    wanted = []
    for number, (harm, told) in enumerate(HARM.items()):
        harm(out, lambda folder, number=number: sorted((out / folder).iterdir())[number])
        name = sorted((out / "images" / "train").iterdir())[number].stem
        wanted += [part.format(name) for part in told]
    found = "\n".join(synth.verify(out, workers=2, progress=False).problems)
    assert [part for part in wanted if part not in found] == []


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def endless(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("harm", [pipe, endless])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_what_has_no_end_is_told_and_not_waited_for(place, finished, harm, kind):
    harmed = min((finished / kind / "train").iterdir())
    harm(harmed)
    code, told, _ = run_command("verify", "ds", cwd=place)
    assert code == 1
    assert f"wrong: {harmed} is no regular file" in told
    assert "not checked: what other programs read" in told
    if kind == "images":
        for args in (["report", "ds"], ["replay", "ds", harmed.stem]):
            code, _, error = run_command(*args, cwd=place)
            assert code == 1
            assert f"it is no regular file: put the right one there, or remove it: {harmed}" in error.replace(
                ": ds", f": {finished}"
            )
    assert run_command("resume", "ds", cwd=place)[0] == 0
    assert synth.verify(finished, progress=False).ok


@pytest.mark.parametrize("name", [dataset.ABOUT, dataset.SAMPLES])
def test_records_that_have_no_end_are_told_and_not_waited_for(place, finished, name):
    pipe(finished / name)
    for args in (["verify", "ds"], ["report", "ds"], ["resume", "ds"]):
        code, _, error = run_command(*args, cwd=place)
        assert (code, "it is no regular file" in error, "Traceback" in error) == (1, True, False)


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root, and setpriv")
def test_labels_that_may_not_be_looked_at_are_told_with_all_else(place, finished):
    """As root everything may be; so without root's privileges."""
    missing = min((finished / "images" / "train").iterdir())
    missing.unlink()
    label = min((finished / "labels" / "train").iterdir())
    label.parent.chmod(0)
    line, how = command("verify", "ds", cwd=place)
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    ran = subprocess.run([*plain, *line], capture_output=True, text=True, check=False, timeout=programs.PATIENCE, **how)
    label.parent.chmod(0o755)
    assert ran.returncode == 1, ran.stderr
    assert f"wrong: {label} cannot be looked at: Permission denied" in ran.stdout
    assert f"wrong: {missing} is missing" in ran.stdout


def test_a_function_may_change_folders(place):
    (place / "elsewhere").mkdir()
    (place / "mine.py").write_text("import os\ndef go(image, mask, rng):\n    os.chdir('elsewhere' if os.path.isdir("
                                   "'elsewhere') else '.')\n    return image, mask\n")  # fmt: skip
    run = ["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--augment", "mine.py:go"]
    assert run_command(*run, cwd=place)[0] == 0
    name = min((place / "ds" / "images" / "train").iterdir())
    code, told, error = run_command("verify", "ds", "--augment", "mine.py:go", cwd=place)
    assert code == 0, told + error
    code, _, error = run_command("replay", "ds", name.stem, "-o", "a.jpg", "--augment", "mine.py:go", cwd=place)
    assert code == 0, error
    assert (place / "a.jpg").read_bytes() == name.read_bytes()


def test_inputs_are_found_again_where_the_function_changes_folders(place, monkeypatch):
    """Those that are not kept in memory."""
    monkeypatch.setattr("manyhands.apps.synth.inputs.SHARED_BYTES", 0)
    monkeypatch.chdir(place)

    def go(image, mask, rng):
        monkeypatch.chdir(place / "photo")
        return image, mask

    settings = synth.Config(objects="photo", backgrounds="back", augment=go, formats="yolo")
    assert synth.generate(settings, "ds", backend="serial").written == 20


@pytest.mark.parametrize(
    ("strange", "unread"),
    [
        ("labels/train/extra.txt", "YOLO"),
        ("voc/Annotations/extra.xml", "VOC"),
        ("labels/train/notes.csv", ""),
        ("previews/extra.txt", ""),
    ],
)
def test_a_file_that_is_none_of_the_dataset_is_told_once_with_what_to_do(place, strange, unread):
    for reader in ("globox", "pycocotools", "supervision"):
        pytest.importorskip(reader)
    out = make(place).out
    (out / strange).parent.mkdir(exist_ok=True)
    (out / strange).write_text("")
    found = synth.verify(out, workers=2, progress=False)
    assert found.problems == (f"{out / strange} is no file of the dataset",)
    assert "delete wrong pictures first, and files that are none of the dataset" in str(found)
    assert [told.split(",")[0] for told in found.left_out] == ([unread] if unread else [])


def test_a_strange_file_of_a_format_that_was_not_asked_for_is_told(place):
    out = make(place, formats="coco").out
    (out / "labels").mkdir()
    (out / "labels" / "extra.txt").write_text("")
    assert synth.verify(out, workers=2, progress=False).problems == (
        f"{out}/labels/extra.txt is no file of the dataset",
    )


def test_nothing_is_written_over_inputs_or_a_dataset(place):
    out = make(place).out
    with pytest.raises(mh.OptionError, match=r"ends in \.html"):
        synth.report(out, out / "dataset.json")
    background = next((place / "back").iterdir())
    before = background.read_bytes()
    other = make(place, "other").out
    for write in (
        lambda: synth.preview(config(place), other / "images" / "train" / "x.png"),
        lambda: synth.replay(out, next((out / "images" / "train").iterdir()).stem, other / "images" / "x.jpg"),
    ):
        with pytest.raises(mh.OptionError, match="is in the dataset"):
            write()
    for write in (
        lambda: synth.preview(config(place), background.with_suffix(".png")),
        lambda: synth.replay(out, next((out / "images" / "train").iterdir()).stem, background.with_suffix(".jpg")),
        lambda: make(place, place / "back" / "ds"),
    ):
        with pytest.raises(mh.OptionError, match="where the backgrounds are: name another place"):
            write()
    assert background.read_bytes() == before
    assert not list((place / "back").rglob("*.jp*g"))


def test_a_name_in_the_records_leads_nowhere_else(place):
    out = make(place).out
    lines = (out / "samples.jsonl").read_text().splitlines()
    told = json.loads(lines[0]) | {"id": "../../../escaped"}
    del told["seal"]
    told["seal"] = dataset._seal_of(told)  # by somebody who means it
    (out / "samples.jsonl").write_text("\n".join([json.dumps(told), *lines[1:]]) + "\n")
    with pytest.raises(mh.OptionError, match="changed or damaged: 1 of 20"):
        synth.export(out, "yolo")
    assert synth.resume(out).made_now == 1
    assert not list(place.parent.rglob("*escaped*"))


def test_a_dataset_without_a_picture_is_a_failure(place):
    summary = make(place, scale=90)
    assert summary.written == 0
    assert "no picture was made: in no sample an object found a place (20 too large): look at scale" in str(summary)
    args = ("run", "--objects", "photo", "--backgrounds", "back", "--scale", "90", "--out", "none")
    assert run_command(*args, cwd=place)[0] == 1


def test_a_long_thin_object_that_is_turned_is_given_up_before_it_is_drawn(place, monkeypatch):
    monkeypatch.setattr("cv2.warpPerspective", None)
    shutil.rmtree(place / "photo")
    (place / "photo" / "line").mkdir(parents=True)
    Image.new("RGBA", (20_000, 9), "red").save(place / "photo" / "line" / "a.png")
    settings = config(place, rotate=45, scale=1, max_truncation=1)
    summary = synth.generate(settings, place / "ds", backend="serial")
    assert summary.given_up == {"too large": summary.planned}


def test_verify_looks_at_previews_too(place):
    out = make(place, preview="all").out
    assert synth.verify(out, workers=2, progress=False).problems == ()
    exchanged, damaged, plain, *_ = previews = sorted((out / "previews" / "train").iterdir())
    exchanged.write_bytes(previews[-1].read_bytes())
    damaged.write_bytes(b"no picture")
    plain.write_bytes((out / "images" / "train" / plain.name).read_bytes())
    assert set(synth.verify(out, workers=2, progress=False).problems) == {
        f"{exchanged.stem}: its preview shows something else",
        f"{damaged.stem}: its preview is damaged",
        f"{plain.stem}: its preview shows something else",
    }


# --- the same bytes -----------------------------------------------------------------------------------------

RICH = {
    "times": 2, "objects_per_image": (1, 3), "rotate": (-20, 20), "blend": ("hard", "gaussian"), "preview": 5,
    "split": (0.5, 0.25, 0.25),
}  # fmt: skip


def test_any_number_of_workers_makes_the_same_dataset(place):
    trees = []
    for workers, backend in ((1, "serial"), (2, "processes"), (5, "processes"), (2, "threads")):
        out = place / f"ds-{workers}-{backend}"
        synth.generate(config(place, **RICH), out, workers=workers, backend=backend)
        trees.append(tree(out))
    assert trees[0]
    assert all(other == trees[0] for other in trees[1:])


def command(*args, cwd):
    return [sys.executable, "-m", "manyhands", "synth", *map(str, args)], {
        "cwd": cwd, "env": programs.environment(), "start_new_session": True,
    }  # fmt: skip


def killed_and_resumed(place, kills, times):
    settings = ["--objects", "photo", "--backgrounds", "back", "--times", times, "--seed", 7, "--preview", 10]
    first, how = command("run", *settings, "--out", "ds", cwd=place)
    again, _ = command("resume", "ds", cwd=place)
    total, killed = 5 * 4 * times, 0
    for moment in range(kills):
        run = subprocess.Popen(again if moment else first, stderr=subprocess.DEVNULL, **how)
        wanted = 1 + moment * total // (kills + 1)
        pictures = place / "ds" / "images" / "train"
        eventually(
            lambda run=run, wanted=wanted, pictures=pictures: (
                run.poll() is not None or (pictures.exists() and len(list(pictures.iterdir())) >= wanted)
            )
        )
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            killed += 1
        run.wait()
    assert killed >= kills - 1
    subprocess.run(again, check=True, capture_output=True, **how)
    undisturbed, _ = command("run", *settings, "--out", "other", cwd=place)
    subprocess.run(undisturbed, check=True, capture_output=True, **how)
    one, other = tree(place / "ds"), tree(place / "other")
    assert one == other
    assert not list((place / "ds").rglob("*.part"))


def test_a_run_that_is_killed_and_resumed_makes_the_same_dataset(place):
    killed_and_resumed(place, kills=3, times=10)


@pytest.mark.stress
def test_a_run_that_is_killed_ten_times_makes_the_same_dataset(place):
    killed_and_resumed(place, kills=10, times=60)


@pytest.mark.parametrize(
    ("out", "options", "resume"),
    [
        ("ds", [], "resume ds"),
        ("my ds", ["--augment", "mine.py:same"], "resume 'my ds' --augment mine.py:same"),
    ],
)
def test_an_interrupted_run_says_how_far_it_came_and_how_to_go_on(place, out, options, resume):
    (place / "mine.py").write_text("def same(image, mask, rng):\n    return image, mask\n")
    inputs = ["--objects", "photo", "--backgrounds", "back"]
    args, how = command("run", *inputs, "--times", 100, "--out", out, *options, cwd=place)
    run = subprocess.Popen(args, stderr=subprocess.PIPE, text=True, **how)
    pictures = place / out / "images" / "train"
    eventually(lambda: pictures.exists() and len(list(pictures.iterdir())) > 20)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate(timeout=programs.PATIENCE)
    assert run.returncode == 130
    wanted = rf"interrupted: at least \d+ of 2,000 samples were made; `manyhands synth {resume}` goes on with the rest"
    assert re.search(wanted, told)
    assert not list((place / out).rglob("*.part"))
    with pytest.raises(mh.OptionError, match="not finished: resume it first"):
        synth.verify(place / out)


@pytest.mark.parametrize("augmented", [True, False])
def test_an_interrupted_call_says_how_to_go_on(place, augmented):
    def interrupt(progress):
        raise KeyboardInterrupt

    settings = {"augment": at_home} if augmented else {}
    with pytest.raises(KeyboardInterrupt) as caught:
        synth.generate(config(place, **settings), place / "ds", workers=1, progress=interrupt)
    told = f"{str(place / 'ds')!r}{', augment=test_synth.at_home' * augmented}"
    assert caught.value.__notes__[-1].endswith(
        f" of 20 samples were made; `synth.resume({told})` goes on with the rest"
    )


def test_a_sample_can_be_made_again_by_its_name(place):
    out = make(place, **RICH).out
    one = sorted((out / "images" / "train").iterdir())[3]
    assert synth.replay(out, one.stem, place / "again.jpg")
    assert (place / "again.jpg").read_bytes() == one.read_bytes()
    one.write_bytes(b"other")
    assert not synth.replay(out, one.stem)
    with pytest.raises(mh.OptionError, match="no sample 'nobody'"):
        synth.replay(out, "nobody")


def test_more_objects_leave_the_other_samples_as_they_are(place):
    """Each depends on the seed and its own identity, and on the inputs that it draws from."""
    out = make(place).out
    cut_out(COLOURS["dog"], 20, 20).save(place / "photo" / "dog" / "new.png")
    more = make(place, "more").out
    one, other = tree(out / "images"), tree(more / "images")
    assert len(other) > len(one)
    assert one.items() <= other.items()


def test_two_runs_into_one_folder_are_refused(place):
    """The second would mix its files with those of the first."""
    (place / "ds").mkdir()
    with files.locked(place / "ds"), pytest.raises(mh.OptionError, match="another run is making the dataset"):
        make(place)
    assert list((place / "ds").iterdir()) == []  # it is still the other's
    assert make(place).written == 20


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_disk_without_locks_will_do(place, monkeypatch, code):
    def flock(fd, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", flock)
    assert make_here(place, count=2).written == 2


# --- going on, and refusing to ------------------------------------------------------------------------------


def test_a_finished_dataset_is_left_as_it_is(place):
    out = make(place).out
    before = {path: path.stat().st_mtime_ns for path in (out / "images").rglob("*.jpg")}
    assert make(place).made_now == 0
    assert synth.resume(out).made_now == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "images").rglob("*.jpg")} == before


@pytest.mark.parametrize(
    "kind", ["images/train", "labels/train", "voc/Annotations", "voc/JPEGImages", "previews/train"]
)
def test_a_file_that_was_lost_is_made_again(place, kind):
    out = make(place, preview="all").out
    before = tree(out)
    min((out / kind).iterdir()).unlink()
    assert synth.resume(out).made_now == 1
    assert tree(out) == before


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no good')", "raised ValueError: no good (mine.py, line 2)"),
        ("exit(0)", "raised SystemExit"),
        (
            "0 / level\nimport functools\nbad = functools.partial(bad, level=0)",
            "raised ZeroDivisionError: division by zero (mine.py, line 2)",
        ),
    ],
)
def test_an_error_in_the_users_function_is_one_line(place, body, told):
    (place / "mine.py").write_text(f"def bad(image, mask, rng, level=1):\n    {body}\n")
    args = ["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--augment", "mine.py:bad"]
    code, _, error = run_command(*args, cwd=place)
    assert code == 1
    assert f"mine.bad {told}" in error
    assert "Traceback" not in error
    assert "resume" not in error  # there is nothing to go on with
    assert not (place / "ds").exists()


@pytest.mark.parametrize("when", ["always", "once it has begun"])
def test_a_function_that_ends_its_process_is_named_with_the_sample(place, when):
    body = f"if {when!r} == 'always' or os.path.exists('ds/images'): os.kill(os.getpid(), 9)"
    (place / "mine.py").write_text(f"import os\ndef bad(image, mask, rng):\n    {body}\n    return image, mask\n")
    args = ["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--augment", "mine.py:bad"]
    code, _, error = run_command(*args, cwd=place)
    assert code == 1
    names = {sample.id for sample in synth.plan(config(place)).samples}
    named = re.search(
        r"the process that was making (\S+) was ended by SIGKILL\. Your function mine\.bad ran in it", error
    )
    assert named[1] in names
    assert "Retry" not in error
    assert ("` goes on with the rest" in error) == (when != "always")


@pytest.mark.parametrize("on_error", ["collect", "skip"])
def test_an_error_is_told_whatever_the_defaults_of_other_calls_are(place, monkeypatch, on_error):
    """A sample that is left out, for one, would be taken for one in which nothing is wrong."""

    def faulty(image, mask, rng):
        if is_broken:
            raise ValueError("no good")
        return image, mask

    is_broken = False
    out = make_here(place, count=6, augment=faulty).out
    is_broken = True
    monkeypatch.setattr("manyhands.apps.synth.reopening.digest_of", lambda _: dataset.about_of(out)["augment"])
    with mh.configure(on_error=on_error):
        for use in (
            lambda: synth.verify(out, augment=faulty, progress=False),
            lambda: synth.preview(config(place, augment=faulty), place / "sheet.png"),
            lambda: make_here(place, "other", augment=faulty),
            lambda: make_here(place, "few", count=2, augment=faulty),
        ):
            with pytest.raises(synth.AugmentFailed, match="no good"):
                use()


def test_other_versions_of_what_decides_the_bytes_are_told(place):
    out = make(place).out
    about = dataset.about_of(out)
    about["versions"]["numpy"] = "1.0"
    dataset.write_about(out, about)
    assert synth.resume(out).notes == ()  # nothing was made
    min((out / "images" / "train").iterdir()).unlink()
    told = "numpy is another version than the dataset was begun with"
    assert synth.resume(out).notes == (told,)
    assert synth.verify(out, progress=False).problems == ()
    paint_pixel(out, lambda folder: min((out / folder).iterdir()))
    assert synth.verify(out, progress=False).problems[0] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"version": 1}', "does not tell aside"),
        ('{"version": 9, "config": {}}', "is of version 9"),
    ],
)
def test_a_description_that_cannot_be_read_is_told(place, text, told):
    (place / "ds").mkdir()
    (place / "ds" / dataset.ABOUT).write_text(text)
    with pytest.raises(mh.OptionError, match=told):
        synth.resume(place / "ds")


def test_a_run_that_was_ended_before_it_had_begun_does_not_stand_in_the_way(place):
    (place / "ds" / dataset.HIDDEN).mkdir(parents=True)
    (place / "ds" / ".manyhands-1-ab.part").touch()
    assert make(place).written == 20


def test_what_is_left_of_a_dataset_of_other_settings_is_not_taken_in(place):
    fresh = tree(make(place, out="fresh", min_size=10).out)
    out = make(place, min_size=60).out  # too much: all are rejected
    journal = (out / dataset.SAMPLES).read_bytes()
    shutil.rmtree(out)
    (out / dataset.HIDDEN).mkdir(parents=True)
    (out / dataset.JOURNAL).write_bytes(journal)
    assert tree(make(place, min_size=10).out) == fresh


def test_pictures_beside_the_folders_of_classes_are_told(place):
    background(9).save(place / "photo" / "loose.png")
    with pytest.raises(synth.InputProblems, match=r"loose\.png: this picture is in no class's folder"):
        make(place)


def test_a_picture_with_a_broken_description_is_used_or_set_aside(place):
    cut_out(COLOURS["cat"], 20).save(place / "photo/cat/broken.png", exif=b"Exif\0\0garbagegarbage")
    summary = make(place)
    assert summary.written + 4 * len(summary.aside) >= 24


def test_a_function_is_known_by_its_code_also_behind_others(place):
    """Whether it is called through something else, or captured in a list; and it is the same in another program."""
    (place / "mine.py").write_text("def one(image, mask, rng):\n    return image, mask\n")
    source = f"""
        import sys
        from manyhands.apps.digests import digest_of
        from manyhands.cli.calls import FileFunction
        def make(x):
            def one(image): return image + x
            steps = [one, {{"a": one}}, {{one}}]
            def all_of_them(image, mask, rng):
                for step in steps: image = step(image)
                return image, mask
            return all_of_them
        print(digest_of(make(1)), digest_of(make(2)), digest_of(FileFunction({str(place / "mine.py")!r}, "any", "one")))
    """
    first, other, of_file = programs.run_source(source, cwd=place).stdout.split()
    assert first != other
    assert programs.run_source(source, cwd=place).stdout.split() == [first, other, of_file]
    (place / "mine.py").write_text("def one(image, mask, rng):\n    return 255 - image, mask\n")
    assert programs.run_source(source, cwd=place).stdout.split()[2] != of_file


def test_a_dataset_without_pictures_is_whole(place):
    summary = make(place, scale=50)
    assert (summary.written, summary.rejected) == (0, 20)
    assert synth.verify(summary.out, progress=False).ok


def test_the_file_for_ultralytics_can_be_used_from_any_folder(place):
    """A ``path`` would be taken from the folder where the training is started."""
    told = (make(place, split=(0.5, 0.5)).out / "data.yaml").read_text()
    assert told.splitlines()[:2] == ["train: images/train", "val: images/val"]


def test_functions_that_capture_something_else_are_told_apart(place):
    def dimmer(by):
        return lambda image, mask, rng: (image // by, mask)

    make(place, augment=dimmer(2))
    assert make(place, augment=dimmer(2)).made_now == 0
    with pytest.raises(mh.OptionError, match="augment: another function"):
        make(place, augment=dimmer(3))
    with pytest.raises(mh.OptionError, match="begun with a function of yours"):
        synth.resume(place / "ds")


def test_long_names_in_any_language_become_names_of_files(place):
    name = "很长的名字" * 15
    shutil.move(place / "photo" / "dog", place / "photo" / name)
    (place / "photo" / name / "d 狗.png").rename(place / "photo" / name / f"{name}.png")
    (place / "back" / "b0.png").rename(place / "back" / f"{name}.png")
    summary = make(place)
    assert summary.written == 20
    assert synth.verify(summary.out, progress=False).ok


def test_two_masks_of_one_name_are_told(place):
    (place / "mask" / "cat").mkdir(parents=True)
    for suffix in ("png", "bmp"):
        Image.new("L", (9, 9), 255).save(place / "mask" / "cat" / f"c0.{suffix}")
    with pytest.raises(synth.InputProblems, match="two masks are called 'cat/c0'"):
        make(place, masks=place / "mask")


def test_hidden_files_are_no_pictures(place):
    before = synth.plan(config(place))
    (place / "photo" / "cat" / "._c0.png").write_bytes(b"of another system")
    (place / "back" / ".thumbnails").mkdir()
    shutil.copy(place / "back" / "b0.png", place / "back" / ".thumbnails" / "b0.png")
    assert synth.plan(config(place)) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda place: make(place, seed=8), "seed: was 7, is 8"),
        (lambda place: ((place / "back" / "b0.png").unlink(), make(place)), "backgrounds/b0.png: is gone"),
        (lambda place: (background(9).save(place / "back" / "b9.png"), make(place)), "backgrounds/b9.png: is new"),
        (lambda place: (background(9).save(place / "back" / "b0.png"), synth.resume(place / "ds")), "has changed"),
        (lambda place: make(place, augment=lambda image, mask, rng: (image, mask)), "augment: a function, and"),
    ],
)  # fmt: skip
def test_other_settings_or_inputs_are_refused_with_the_difference(place, change, told):
    out = make(place).out
    before = tree(out)
    with pytest.raises(mh.OptionError) as error:
        change(place)
    assert told in str(error.value)
    assert tree(out) == before


def test_a_folder_with_other_files_is_not_written_to(place):
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(mh.OptionError, match="holds other files"):
        make(place, "mine")
    assert [path.name for path in (place / "mine").iterdir()] == ["thesis.txt"]


def test_another_format_is_written_later(place):
    out, whole = make(place, formats=("voc",)).out, make(place, "whole").out
    assert not (out / "coco").exists()
    for name in ("coco", "yolo"):
        assert all(path.exists() for path in synth.export(out, name))
    one, other = tree(out), tree(whole)
    assert {name: one[name] for name in one if name != dataset.ABOUT} == {
        name: other[name] for name in other if name != dataset.ABOUT
    }
    assert len(synth.verify(out, progress=False).checks) == 9
    assert make(place, formats=("voc",)).made_now == 0  # the first command, again


# --- the plan -----------------------------------------------------------------------------------------------


def test_splits_share_no_object_and_no_background(place):
    plan = synth.plan(config(place, split=(0.5, 0.25, 0.25)))
    used = {}
    for sample in plan.samples:
        used.setdefault(sample.split, set()).update({sample.object, sample.background})
    assert set(used) == {"train", "val", "test"}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not used[one] & used[other]
    assert any("dog" in note for note in plan.notes)  # it has one picture


def test_the_same_picture_under_several_names_is_in_one_split(place):
    """What is tested on would have been trained on."""
    for name in "uvwx":
        shutil.copy(place / "back/b0.png", place / f"back/{name}.png")
    (place / "back/y.png").symlink_to(place / "back/b0.png")
    plan = synth.plan(config(place, split=(0.5, 0.5)))
    contents = [{(place / "back" / key.split("/")[1]).read_bytes() for key in stock.backgrounds} for stock in
                plan.stocks.values() if stock.backgrounds]  # fmt: skip
    assert len(contents) == 2
    assert not contents[0] & contents[1]


def test_objects_of_a_picture_come_from_its_own_split(place):
    summary = make(place, times=5, objects_per_image=(3, 3), split=(0.5, 0.5))
    by_split = {}
    for record in records(summary.out):
        by_split.setdefault(record.split, set()).update(label.source for label in record.labels)
    assert by_split["train"]
    assert not by_split["train"] & by_split["val"]


def test_so_many_of_very_many_are_planned_at_once(place):
    plan = synth.plan(config(place, times=10**9, count=50))
    assert len({sample.id for sample in plan.samples}) == 50
    with pytest.raises(mh.OptionError, match=r"at most 10,000,000 pictures, and this would have .*: set a lower"):
        synth.plan(config(place, times=10**9))


def test_too_little_memory_is_told(tmp_path):
    """In a program of its own: a worker that may have no more memory is of no use to other tests."""
    script = """
        import pathlib, resource
        from manyhands.apps import synth

        def hungry(image, mask, _rng):
            own = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (own + (1 << 20), resource.RLIM_INFINITY))
            return image, mask

        here = pathlib.Path.cwd()
        config = synth.example(here, augment=hungry, size=(4000, 3000), scale=30, max_truncation=1)
        try:
            synth.generate(config, here / "ds", progress=False)
        except OSError as error:
            print(error.strerror)
        """
    told = programs.run_source(script, cwd=tmp_path).stdout
    assert re.fullmatch(r"there is not enough memory to make \S+: take fewer workers, or smaller pictures\n", told)
    assert not (tmp_path / "ds").exists()


def test_a_dataset_among_its_own_inputs_is_refused(place):
    with pytest.raises(mh.OptionError, match="where the backgrounds are"):
        synth.generate(config(place), place / "back" / "ds")
    assert not (place / "back" / "ds").exists()


def test_so_many_samples_are_evenly_chosen(place):
    plan = synth.plan(config(place, times=10, count=30))
    assert len(plan.samples) == 30
    assert plan.per_class() == {"cat": 24, "dog": 6}
    assert len({sample.id for sample in plan.samples}) == 30


def test_planned_is_written_and_rejected(place):
    """An object of 300 x 200 pixels does not fit on 96 x 64; the reasons are counted."""
    cut_out(COLOURS["cat"], 300, 200).save(place / "photo" / "cat" / "huge.png")
    summary = make(place, scale=1)
    assert summary.planned == 24
    assert (summary.written, summary.rejected) == (20, 4)
    assert summary.given_up == {"too large": 4}
    assert "24 planned = 20 written + 4 rejected" in str(summary)
    assert len(list((summary.out / "images" / "train").iterdir())) == 20
    assert synth.verify(summary.out, progress=False).ok


def test_random_numbers_depend_on_the_seed_and_the_sample_alone():
    drawn = [planning.random_of(seed, name).random() for seed, name in ((1, "a"), (1, "b"), (2, "a"), (1, "a"))]
    assert len(set(drawn)) == 3
    assert drawn[0] == drawn[3]


# --- pictures of all kinds ----------------------------------------------------------------------------------


def grey(path):
    Image.fromarray(np.full((20, 30), 90, np.uint8)).save(path)


def deep(path):
    Image.fromarray(np.full((20, 30), 0x5A5A, np.uint16)).save(path)


def palette(path):
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).quantize(4).save(path)


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((30, 20, 3), 90, np.uint8)).save(path, exif=exif)


@pytest.mark.parametrize("kind", [grey, deep, palette, turned])
def test_objects_and_backgrounds_of_every_kind_come_out_right(tmp_path, kind):
    for name in ("photo/ü 图", "mask/ü 图", "back"):
        (tmp_path / name).mkdir(parents=True)
    kind(tmp_path / "photo/ü 图/one.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:25] = 255
    Image.fromarray(mask).save(tmp_path / "mask/ü 图/one.png")
    Image.fromarray(np.full((60, 80), 0x1010, np.uint16)).save(tmp_path / "back/deep.png")
    summary = make(tmp_path, masks=tmp_path / "mask", image_format="png", **PLAIN)
    (record,) = records(summary.out)
    (label,) = record.labels
    x0, y0, x1, y1 = label.box
    assert (x1 - x0, y1 - y0, label.area, label.name) == (20, 10, 200, "ü 图")
    pixels = pixels_of(picture_of(summary.out, record))
    assert (pixels[y0:y1, x0:x1] == 90).all()
    assert (pixels == 16).sum() == 3 * (60 * 80 - 200)


def test_an_object_of_one_pixel_is_right_or_too_small(place):
    shutil.rmtree(place / "photo" / "dog")
    (place / "photo" / "dot").mkdir()
    Image.new("RGBA", (1, 1), (255, 0, 0, 255)).save(place / "photo" / "dot" / "dot.png")
    summary = make(place, **PLAIN)
    assert summary.given_up == {"small": 4}
    summary = make(place, "tiny", min_size=1, **PLAIN)
    assert [one.area for record in records(summary.out) for one in record.labels if one.name == "dot"] == [1] * 4


def test_corrupt_pictures_are_set_aside_and_named(place):
    (place / "back" / "broken.jpg").write_bytes(b"no picture")
    good = (place / "photo" / "cat" / "c0.png").read_bytes()
    (place / "photo" / "cat" / "cut.png").write_bytes(good[: len(good) // 2])
    Image.new("RGBA", (9, 9)).save(place / "photo" / "cat" / "clear.png")
    Image.new("RGB", (9, 9)).save(place / "photo" / "cat" / "opaque.png")
    summary = make(place)
    assert summary.written == 20
    assert set(summary.aside) == {
        str(place / name)
        for name in ("back/broken.jpg", "photo/cat/cut.png", "photo/cat/clear.png", "photo/cat/opaque.png")
    }
    assert "its mask is empty" in str(summary)
    assert "no transparency" in str(summary)


def with_too_many_transparencies(path):
    """A palette has 256 colours at most, and Pillow stumbles over more only when it converts them."""
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).quantize(4).save(path)
    data = path.read_bytes()
    told = b"tRNS" + bytes(300)
    chunk = struct.pack(">I", len(told) - 4) + told + struct.pack(">I", zlib.crc32(told))
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + chunk + data[at:])


def test_a_picture_that_cannot_be_converted_is_set_aside(place):
    for folder in ("back", "photo/cat"):
        with_too_many_transparencies(place / folder / "long.png")
    summary = make_here(place)
    assert summary.written == 20
    assert set(summary.aside) == {str(place / "back/long.png"), str(place / "photo/cat/long.png")}
    assert all("it is damaged: " in reason for reason in summary.aside.values())


def test_a_mask_that_cannot_be_converted_sets_its_picture_aside(place):
    masked(place, "mask")
    with_too_many_transparencies(place / "mask/cat/c0.png")
    Image.new("RGB", (30, 20), "red").save(place / "photo/cat/c0.png")
    assert set(make_here(place, masks=place / "mask").aside) == {str(place / "photo/cat/c0.png")}


def test_all_that_is_wrong_with_the_inputs_is_told_at_once(place):
    (place / "mask" / "cat").mkdir(parents=True)
    (place / "photo" / "empty").mkdir()
    Image.new("L", (9, 9), 255).save(place / "mask" / "cat" / "stray.png")
    with pytest.raises(synth.InputProblems) as error:
        make(place, "new/folder/ds", masks=place / "mask", backgrounds=place / "nowhere")
    told = str(error.value)
    for part in ("an empty class", "c0.png: it has no mask", "stray.png: a mask without", "nowhere: there is no such"):
        assert part in told
    assert not (place / "new").exists()


def test_a_mask_of_another_size_is_told_before_anything_is_made(place):
    (place / "mask" / "cat").mkdir(parents=True)
    (place / "mask" / "dog").mkdir(parents=True)
    for picture in (place / "photo").rglob("*.png"):
        size = (5, 5) if picture.stem == "c1" else size_of(picture)
        Image.new("L", size, 255).save(place / "mask" / picture.relative_to(place / "photo"))
    with pytest.raises(synth.InputProblems, match="the mask has 5 x 5 pixels and its picture"):
        make(place, masks=place / "mask")
    assert not (place / "ds").exists()


def test_a_class_of_which_nothing_can_be_used_is_an_error(place):
    (place / "photo" / "dog" / "d 狗.png").write_bytes(b"")
    with pytest.raises(synth.InputProblems, match="dog: of this class no picture can be used"):
        make(place)


def test_more_pictures_than_the_shared_memory_holds_make_the_same_dataset(place, monkeypatch):
    before = tree(make(place).out)
    monkeypatch.setattr(inputs, "SHARED_BYTES", 30_000)
    monkeypatch.setattr(inputs, "KEPT_BYTES", 1)
    for backend in ("processes", "threads", "serial"):
        synth.generate(config(place), place / backend, workers=4, backend=backend)
        assert tree(place / backend) == before


# --- the user's own function, and the tutorial --------------------------------------------------------------


def halve(image, mask, rng):
    """Every other column, and dark."""
    assert image.shape == (*mask.shape, 3)
    return image[:, ::2] // 2, mask[:, ::2]


def test_a_function_of_the_users_changes_objects_and_their_labels(place):
    summary = make(place, augment=halve, image_format="png", **PLAIN)
    widths = {label.box[2] - label.box[0] for record in records(summary.out) for label in record.labels}
    assert max(widths) <= 16
    assert synth.verify(summary.out, augment=halve, workers=2, progress=False).ok
    told = str(synth.verify(summary.out, progress=False))
    assert "nothing is wrong in what was checked" in told
    assert "cannot be made again" in told
    picture = pixels_of(next((summary.out / "images" / "train").glob("cat-*")))
    assert (picture == (127, 0, 127)).all(axis=2).any()  # red, green and blue as in the function


@pytest.mark.parametrize(
    ("faulty", "told"),
    [
        (lambda image, mask, rng: (image[1:], mask), "an image of "),
        (lambda image, mask, rng: (image / 2, mask), "float64 "),
        (lambda image, mask, rng: image, r"only an image \(an array of shape \(\d+, \d+, 3\)\); it must return "),
        (lambda image, mask, rng: mask, r"only an array of shape \(\d+, \d+\); it must return "),
        (lambda image, mask, rng: None, r"None; it must return \(image, mask\)"),
        (lambda image, mask, rng: (image, mask, rng), "a tuple of 3; it must return "),
        (lambda image, mask, rng: [image, mask], "a value of type list; it must return "),
    ],
)
def test_a_function_that_returns_something_else_is_told(place, faulty, told):
    with pytest.raises(synth.AugmentFailed, match=f"returned {told}"):
        make(place, augment=faulty)


def at_home(image, mask, rng):
    assert (type(image), type(mask)) == (np.ndarray, np.ndarray)
    assert image.flags.c_contiguous
    assert mask.flags.c_contiguous
    return image, mask


def test_a_function_gets_arrays_of_numpys_own_type(place):
    assert make(place, count=4, augment=at_home).written == 4


def no_luck(image, mask, rng):
    raise ValueError("no luck")


@pytest.mark.parametrize("func", [no_luck, lambda image, mask, rng: image, lambda image, mask, rng: (image / 2, mask)])
@pytest.mark.parametrize("count", [2, 4], ids=["in the run", "where room is looked for"])
def test_an_error_in_a_function_names_the_picture_and_the_sample(place, func, count):
    (place / "photo" / "cat" / "c0.png").rename(place / "photo" / "cat" / "bottle cap.png")
    for number in range(1, 4):
        (place / "photo" / "cat" / f"c{number}.png").unlink()
    shutil.rmtree(place / "photo" / "dog")
    with pytest.raises(synth.AugmentFailed) as caught:
        make(place, augment=func, count=count)
    told = re.search(
        r"\. It was given objects/cat/bottle cap\.png, for the sample (cat-bottle_cap-b\S+)$", str(caught.value)
    )
    assert any(f"argument Sample('{told[1]}')" in note for note in caught.value.__notes__)


def test_the_tutorials_settings(place):
    settings = synth.tutorial(objects=place / "photo", backgrounds=place / "back", times=2, seed=1)
    summary = synth.generate(settings, place / "ds", workers=2)
    out = place / "ds"
    assert summary.written > 0
    assert len(list((out / "voc" / "Annotations").iterdir())) == summary.written
    assert len(list((out / "previews" / "train").iterdir())) == summary.written
    assert not (out / "labels").exists()
    assert synth.verify(out, workers=2, progress=False).ok


def test_three_quarters_of_a_background_show_others(tmp_path):
    (tmp_path / "photo" / "dot").mkdir(parents=True)
    (tmp_path / "back").mkdir()
    Image.new("RGBA", (1, 1), (255, 0, 0, 255)).save(tmp_path / "photo/dot/dot.png")
    shades = {number: 20 * (number + 1) for number in range(8)}
    for number, shade in shades.items():
        Image.new("RGB", (40, 30), (shade,) * 3).save(tmp_path / f"back/b{number}.png")
    summary = make(tmp_path, quadrants=True, min_size=1, image_format="png", times=3, **PLAIN)
    mixed = 0
    for record in records(summary.out):
        pixels = pixels_of(picture_of(summary.out, record))[:, :, 1]
        quarters = [pixels[:15, :20], pixels[:15, 20:], pixels[15:, :20], pixels[15:, 20:]]
        assert all(len(np.unique(quarter[quarter > 0])) == 1 for quarter in quarters)  # the dot has no green
        found = [int(quarter.max()) for quarter in quarters]
        assert shades[int(record.background[-5])] in found
        mixed += len(set(found)) > 2
    assert mixed > 12


def test_pictures_of_a_size(place):
    summary = make(place, size=(50, 70), scale=0.5)
    assert {size_of(path) for path in (summary.out / "images").rglob("*.jpg")} == {(50, 70)}


# --- the config ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"scael": 2}, "there is no setting 'scael'; did you mean 'scale'?"),
        ({"scale": (2, 1)}, "scale takes a number or two"),
        ({"formats": "voc,yolo"}, "formats takes any of voc, yolo, coco"),
        ({"blend": []}, "blend takes any of"),
        ({"split": (0.5, 0.2)}, "which add up to 1"),
        ({"max_overlap": 1.5}, "max_overlap takes a share"),
        ({"times": 0}, "times takes a whole number"),
        ({"objects_per_image": (0, 2)}, "objects_per_image takes one or two whole numbers from 1 to 1,000"),
        ({"preview": "some"}, "preview takes how many"),
        ({"flip": "yes"}, "flip takes true or false"),
        ({"preset": "turorial"}, "there is no preset"),
        ({"size": (0, 5)}, "size takes"),
        ({"seed": True}, "seed takes"),
        ({"scale": "large"}, "scale takes"),
    ],
)
def test_a_wrong_setting_is_told(settings, told):
    with pytest.raises(mh.OptionError, match=re.escape(told)):
        synth.from_mapping({"objects": "o", "backgrounds": "b"} | settings)


def test_a_file_of_settings_names_folders_beside_it(place):
    (place / "synth.toml").write_text('objects = "photo"\nbackgrounds = "back"\nscale = [0.5, 1]\npreview = "all"\n')
    settings = synth.load(place / "synth.toml")
    assert settings.scale == (0.5, 1.0)
    assert settings.preview is None
    assert len(synth.plan(settings).samples) == 20
    (place / "synth.toml").write_text("objects = photo\n")
    with pytest.raises(mh.OptionError, match="is no TOML"):
        synth.load(place / "synth.toml")


# --- when it cannot be written ------------------------------------------------------------------------------


def test_too_little_room_is_told_before_anything_is_made(place, monkeypatch):
    usage = shutil.disk_usage(place)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(OSError, match=r"20 pictures take about \d+ kB"):
        make(place)
    assert not (place / "ds").exists()


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="needs root, to mount a small disk")
def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(place, monkeypatch):
    """Somebody else fills it, after it was looked at."""
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    out = place / "ds"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", out], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(OSError, match="the disk is full") as error:
            make(place, times=12, image_format="png", formats=("yolo",))
        assert error.value.errno == errno.ENOSPC
        assert not list(out.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=40m", out], check=True)
        assert 0 < synth.resume(out).made_now < 240
        assert synth.verify(out, progress=False).ok
    finally:
        subprocess.run(["umount", out], check=True)


def test_a_file_that_may_not_become_so_long_is_named_and_the_run_goes_on_later(place):
    """The journal becomes the longest."""
    script = """
        import pathlib, resource
        from manyhands.apps import synth
        config = synth.Config(objects="photo", backgrounds="back", times=20, formats="yolo")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            synth.generate(config, "ds", backend="serial")
        except OSError as error:
            print(error.strerror, error.filename, sep=": ")
    """
    told = r"this file is longer than you may write \(see `ulimit -f`\): at least \d+ of 400 samples were made\. Allow"
    found = programs.run_source(script, cwd=place).stdout
    assert re.search(told + rf" longer ones and resume: {place}/ds/{dataset.JOURNAL}", found), found
    assert not list((place / "ds").rglob("*.part"))
    assert 0 < synth.resume(place / "ds", workers=2).made_now < 400
    assert synth.verify(place / "ds", progress=False).ok


def test_a_picture_that_may_not_become_so_long_is_named(place):
    path = place / "ds.part" / "x.jpg"
    script = f"""
        import pathlib, resource
        from manyhands.apps.synth import making
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            making.write_bytes(pathlib.Path({str(path)!r}), bytes(2000))
        except OSError as error:
            print(error.strerror, error.filename, sep=": ")
    """
    assert programs.run_source(script, cwd=place).stdout == f"File too large: {path}\n"


def test_inputs_that_may_not_be_shared_in_so_long_a_file_are_told(place):
    line, how = command("run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", cwd=place)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"  # as `ulimit -f`
    line[1:3] = ["-c", f"{limit}; import sys; from manyhands.cli import main; sys.exit(main())"]
    ran = subprocess.run(line, capture_output=True, text=True, check=False, timeout=programs.PATIENCE, **how)
    assert ran.returncode == 1
    assert "the decoded pictures take 0.1 MB of memory that is shared as a file, and you may write none" in ran.stderr
    assert "(see `ulimit -f`): allow longer ones" in ran.stderr


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="needs root, to mount a disk")
def test_a_place_that_cannot_be_written_to_is_told_at_once(place):
    (place / "closed").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place / "closed"], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        code, _, told = run_command(
            "run", "--objects", "photo", "--backgrounds", "back", "--out", "closed/ds", cwd=place
        )
    finally:
        subprocess.run(["umount", place / "closed"], check=True)
    assert code == 1
    assert "Read-only file system" in told
    assert "Traceback" not in told


# --- the command --------------------------------------------------------------------------------------------


def run_command(*args, cwd):
    line, how = command(*args, cwd=cwd)
    ran = subprocess.run(line, capture_output=True, text=True, check=False, timeout=programs.PATIENCE, **how)
    return ran.returncode, ran.stdout, ran.stderr


def test_the_commands_from_the_first_look_to_the_report(place):
    (place / "synth.toml").write_text('objects = "photo"\nbackgrounds = "back"\nrotate = [-20, 20]\nseed = 3\n')
    code, _, told = run_command("preview", "synth.toml", "-n", "5", "-o", "sheet.png", cwd=place)
    assert code == 0, told
    assert size_of(place / "sheet.png")[0] == 1600
    code, _, told = run_command(
        "run", "--config", "synth.toml", "--times", 2, "--scale", "0.5:1", "--split", "0.5/0.5", "--size", "90x60",
        "--out", "ds", "--preview", "all", cwd=place,
    )  # fmt: skip
    assert code == 0, told
    assert "planned = " in told
    code, out, told = run_command("verify", "ds", cwd=place)
    assert code == 0, out + told
    assert "all is as it should be" in out
    code, _, told = run_command("report", "ds", cwd=place)
    assert code == 0, told
    page = (place / "ds" / "report.html").read_text()
    assert page.count("<svg") == 8
    assert "http" not in page
    name = min((place / "ds" / "images" / "train").iterdir()).stem
    assert run_command("replay", "ds", name, cwd=place)[0] == 0
    assert run_command("export", "ds", "--to", "coco", cwd=place)[0] == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["run", "--objects", "photo", "--out", "ds"], "the setting 'backgrounds' is missing"),
        (["run", "--objects", "nope", "--backgrounds", "back", "--out", "ds"], "nope: there is no such folder"),
        (
            ["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--scale", "a:b"],
            "--scale 'a:b': write two",
        ),
        (["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--size", "90"], "write WIDTHxHEIGHT"),
        (["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "--preset", "x"], "there is no preset"),
        (["resume", "photo"], "there is no dataset in photo"),
        (["export", "photo", "--to", "tfrecord"], "there is no format 'tfrecord'"),
        (["preview", "nothing.toml"], "nothing.toml"),
    ],
)
def test_a_wrong_command_is_told_in_one_message(place, args, told):
    code, out, error = run_command(*args, cwd=place)
    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert out == ""
    assert not (place / "ds").exists()


def test_bars_tell_of_each_class_and_of_all(place, capfd):
    synth.generate(config(place), place / "ds", workers=2, progress=True)
    told = capfd.readouterr().err
    assert re.search(r"cat: 16/16", told)
    assert re.search(r"dog: 4/4", told)
    assert "20/20" in told


def test_the_page_tells_of_each_run(place):
    page = synth.report(make(place).out).read_text()
    assert re.search(r"run 1</td><td>20 samples in [\d.]+ s with 2 workers", page)


def test_the_page_tells_how_many_of_each_class_are_in_each_split(place):
    """The one dog is in train: there is none to look for in val."""
    out = make_here(place, split=(0.5, 0.5)).out
    cats = Counter(record.split for record in records(out) for label in record.labels if label.name == "cat")
    dogs = sum(label.name == "dog" for record in records(out) for label in record.labels)
    page = synth.report(out).read_text()
    table = page.split("<h2>Objects of each class in each split</h2>")[1].split("</table>")[0]
    rows = [re.findall(r"<t[dh][^>]*>([^<]*)<", row) for row in table.split("</tr>")[:-1]]
    assert rows == [
        ["class", "train", "val"],
        ["cat", str(cats["train"]), str(cats["val"])],
        ["dog", str(dogs), "0"],
    ]


@pytest.mark.parametrize(
    ("settings", "ticks"),
    [
        ({"times": 1}, ["4"]),  # each of five objects on each of four backgrounds
        ({"count": 8}, ["1", "2"]),
        ({"times": 30, "objects_per_image": (1, 5)}, None),  # many numbers to a bar
    ],
)
def test_whole_numbers_stand_below_what_is_counted(place, settings, ticks):
    page = synth.report(make_here(place, **{"max_overlap": 1, "min_visible": 0.01} | settings).out).read_text()
    chart = page.split("<figcaption>How often each object picture is used")[1].split("</figure>")[0]
    shown = re.findall(r'y="146"[^>]*>([^<]+)<', chart)
    assert all(re.fullmatch(r"\d{1,3}(,\d{3})*", tick) for tick in shown)
    assert shown == sorted(set(shown), key=lambda tick: int(tick.replace(",", "")))
    assert ticks is None or shown == ticks
    assert len(shown) == (len(ticks) if ticks else 3)


def test_the_page_says_how_many_classes_it_leaves_out(place):
    for number in range(29):
        (place / "photo" / f"c{number:02}").mkdir()
        cut_out(COLOURS["cat"]).save(place / "photo" / f"c{number:02}" / "a.png")
    page = synth.report(make_here(place, count=5).out).read_text()
    assert "Objects of each class (the first 30 of 31)" in page


# --- what is seen, and what was changed meanwhile ------------------------------------------------------------------


@pytest.mark.parametrize("blend", ["hard", "gaussian"])
def test_what_is_labelled_can_be_seen_also_where_it_is_thin(place, blend):
    shutil.rmtree(place / "photo")
    (place / "photo" / "wire").mkdir(parents=True)
    wires = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    for at in range(2, 40, 8):
        wires.paste((255, 0, 255, 255), (at, 0, at + 2, 40))
    wires.save(place / "photo" / "wire" / "a.png")
    how = {"scale": 1, "brightness": 1, "blur": 0, "image_format": "png", "blend": blend, "max_truncation": 0}
    out = make(place, **how).out
    for record in records(out):
        behind = pixels_of(place / "back" / record.background.removeprefix("backgrounds/"))
        changed = np.abs(pixels_of(picture_of(out, record)).astype(int) - behind).max(axis=2) > 20
        (label,) = record.labels
        rows, columns = np.nonzero(changed)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == label.box


def test_quadrants_show_other_backgrounds(place):
    shutil.rmtree(place / "back")
    (place / "back").mkdir()
    for name, colour in {"r": "red", "g": "lime", "b": "blue"}.items():
        Image.new("RGB", (80, 60), colour).save(place / "back" / f"{name}.png")
    out = make(place, quadrants=True, brightness=1, image_format="png", times=3).out
    for picture in (out / "images" / "train").iterdir():
        own = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255)}[picture.stem.split("-")[2]]
        corners = pixels_of(picture)[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert sum(tuple(corner) == own for corner in corners) <= 1


def test_the_own_transparency_of_a_mask_counts(place):
    for picture in (place / "photo").rglob("*.png"):
        mask = Image.new("RGBA", size_of(picture), (255, 255, 255, 0))
        mask.paste((255, 255, 255, 255), (2, 2, 7, 8))
        target = place / "mask" / picture.relative_to(place / "photo")
        target.parent.mkdir(parents=True, exist_ok=True)
        mask.save(target)
    out = make(place, masks=str(place / "mask"), scale=1, min_size=1, max_overlap=0, max_truncation=0).out
    boxes = {label.box for record in records(out) for label in record.labels}
    assert {(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes} == {(5, 6)}


def test_what_would_not_be_looked_at_is_told_with_all_else(place):
    (place / "photo" / "cat" / "more").mkdir()
    shutil.copy(next((place / "photo" / "cat").glob("*.png")), place / "photo" / "cat" / "more")
    (place / "photo" / "cat" / "lost.png").symlink_to("nowhere")
    with pytest.raises(synth.InputProblems) as caught:
        synth.plan(config(place))
    assert "are not looked at" in str(caught.value)
    assert "leads nowhere" in str(caught.value)


def test_settings_that_somebody_has_changed_by_hand_are_not_gone_on_with(place):
    out = make(place).out
    text = (out / dataset.ABOUT).read_text()
    assert '"seed": 7' in text
    (out / dataset.ABOUT).write_text(text.replace('"seed": 7', '"seed": 8'))
    for use in (synth.resume, synth.verify, synth.report, lambda out: synth.export(out, "yolo")):
        with pytest.raises(mh.OptionError, match="was changed by hand"):
            use(out)


def test_an_input_that_is_replaced_during_the_run_is_told(place, monkeypatch):
    monkeypatch.setattr("manyhands.apps.synth.inputs.SHARED_BYTES", 0)
    replaced = place / "back" / "b2.png"

    def exchange(image, mask, rng):
        background(99).save(replaced)
        return image, mask

    with pytest.raises(OSError, match=r"it has changed since the run began: put it back and resume: .*b2\.png"):
        synth.generate(config(place, augment=exchange), place / "ds", backend="serial")


def test_an_input_that_cannot_be_read_any_more_is_not_told_to_have_changed(place, monkeypatch):
    monkeypatch.setattr("manyhands.apps.synth.inputs.SHARED_BYTES", 0)

    def without_descriptors(image, mask, rng):
        monkeypatch.setattr("PIL.Image.open", no_more)
        return image, mask

    def no_more(path, **how):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    with pytest.raises(OSError, match=r"Too many open files: it cannot be read any more; .* resume: .*\.png") as caught:
        make_here(place, augment=without_descriptors)
    assert caught.value.errno == errno.EMFILE


def test_a_change_may_be_asked_for_by_its_name_alone_and_workers_by_auto(place):
    args = ("run", "--objects", "photo", "--backgrounds", "back", "--out", "ds", "-j", "auto")
    code, _, told = run_command(*args, "--shear", "--perspective", "--rotate", "-5:5", "--brightness", cwd=place)
    assert code == 0, told
    made = synth.config_of(place / "ds")
    assert (made.shear, made.perspective, made.rotate) == ((-15, 15), 0.1, (-5, 5))
    assert made.brightness == (0.6, 1.4)


def test_what_a_process_of_the_same_number_has_left_is_removed(place):
    """As in containers, where each run has the same numbers."""
    out = make(place).out
    left = out / "images" / "train" / f".manyhands-{os.getpid()}-1-0123456789abcdef.part"
    left.write_bytes(b"half")
    next(path for path in (out / "images" / "train").iterdir() if path.suffix == ".jpg").unlink()
    synth.resume(out)
    assert not left.exists()


def test_colours_that_nobody_sees_do_not_bleed_into_an_object(place):
    shutil.rmtree(place / "photo")
    (place / "photo" / "disc").mkdir(parents=True)
    disc = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    disc.paste((255, 255, 255, 255), (6, 6, 34, 34))
    disc.save(place / "photo" / "disc" / "a.png")
    out = make(place, scale=0.8, blur=2, brightness=1, image_format="png", max_truncation=0).out
    for record in records(out):
        (label,) = record.labels
        x0, y0, x1, y1 = label.box
        assert pixels_of(picture_of(out, record))[y0:y1, x0:x1].min() >= 250


def test_no_split_is_empty_where_there_are_enough_different_pictures(place):
    shutil.copy(place / "back" / "b0.png", place / "back" / "again.png")
    for seed in range(20):
        plan = synth.plan(config(place, seed=seed, split=(0.4, 0.3, 0.3)))
        assert all(stock.backgrounds for stock in plan.stocks.values())
        assert len({key for stock in plan.stocks.values() for key in stock.backgrounds}) == 5


def test_pictures_that_are_all_the_same_are_to_learn_from(place):
    for number in range(1, 4):
        shutil.copy(place / "back" / "b0.png", place / "back" / f"b{number}.png")
    plan = synth.plan(config(place, split=(0.5, 0.5)))
    assert [len(stock.backgrounds) for stock in plan.stocks.values()] == [4, 0, 0]
    assert "too few different pictures (of 4) for val" in " ".join(plan.notes)


def test_other_programs_may_call_a_file_as_a_dataset_calls_its_own(place):
    (place / "dataset.json").write_text('{"name": "of somebody else"}')
    assert synth.preview(config(place), place / "sheet.png", count=2) == 2


# --- what came out empty, was changed, or is odd -------------------------------------------------------------------


def counts_of(keys, of):
    """The least and the most often that any of these is used."""
    counted = [list(keys).count(one) for one in of]
    return min(counted), max(counted)


@pytest.mark.parametrize(("times", "count"), [(1, 10), (1, 100), (1, 137), (3, 1000), (10, 24), (2, None)])
def test_so_many_samples_use_objects_and_backgrounds_evenly(tmp_path, times, count):
    for name in ("photo/a", "photo/b", "back"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(10):
        (tmp_path / "photo" / "ab"[number % 5 == 0] / f"{number}.png").touch()
    for number in range(40):
        (tmp_path / "back" / f"{number:03}.png").touch()
    plan = synth.plan(config(tmp_path, times=times, count=count))
    assert len({sample.id for sample in plan.samples}) == (count or 800)
    objects, backgrounds = plan.stocks["train"]
    for key, keys in (("object", objects), ("background", backgrounds)):
        least, most = counts_of([getattr(sample, key) for sample in plan.samples], keys)
        assert most - least <= 1
    pairs = [(sample.object, sample.background) for sample in plan.samples[:400]]
    assert len(set(pairs)) == min(400, len(pairs))  # none twice while another was not used
    assert plan.samples[: count or 5] == synth.plan(config(tmp_path, times=times, count=count or 5)).samples


def test_previews_show_splits_and_classes_by_their_shares(place):
    out = make(place, split=(0.5, 0.5), preview=2, times=5).out
    assert {path.parent.name for path in (out / "previews").rglob("*.jpg")} == {"train", "val"}


def set_line(out, change, number=3):
    """Change one line of the records; the id of its sample."""
    path = out / dataset.SAMPLES
    lines = path.read_text(encoding="utf-8").splitlines()
    told = json.loads(lines[number])
    lines[number] = change(json.loads(lines[number]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return told["id"]


def with_label(**changed):
    return lambda told: json.dumps(told | {"labels": [told["labels"][0] | changed]}, ensure_ascii=False)


def with_fields(**changed):
    return lambda told: json.dumps(told | changed, ensure_ascii=True)


@pytest.mark.parametrize(
    "change",
    [
        with_label(box=[1, 2, 30, 40]),  # as somebody might mend it
        with_label(box="abcd"),
        with_label(name="dog"),
        with_label(name=["cat"]),
        with_label(truncation=None),
        with_label(visible=-5),
        with_fields(size=[0, 0]),
        with_fields(size="x"),
        with_fields(given_up=5),
        with_fields(background=[]),
        with_fields(id="a\0b"),
        with_fields(id="\ud800"),
        lambda told: "[" * 200_000,
        lambda told: "[]",
        lambda told: "7",
    ],
)  # fmt: skip
def test_a_record_that_was_changed_is_told_and_made_again(finished, change):
    before = tree(finished)
    set_line(finished, change)
    told = synth.verify(finished, progress=False)
    assert "lines that were changed or damaged: 1 of 6; `resume` makes these samples again" in str(told)
    assert not told.ok
    for use in (synth.report, lambda out: synth.export(out, "coco")):
        with pytest.raises(mh.OptionError, match="changed or damaged: 1 of 6"):
            use(finished)
    assert synth.resume(finished, backend="serial").made_now == 1
    assert tree(finished) == before


@pytest.mark.parametrize("kept", [17, 0])
@pytest.mark.parametrize("split", [(1.0,), (0.5, 0.5)])
def test_lines_of_records_that_are_missing_are_told_and_made_again(place, split, kept):
    """A format that was written from the rest would lack these pictures."""
    out = make_here(place, formats=("yolo", "coco"), split=split, times=2, min_size=1, aspect=(0.01, 100)).out
    before = tree(out)
    lines = (out / dataset.SAMPLES).read_bytes().splitlines(keepends=True)
    (out / dataset.SAMPLES).write_bytes(b"".join(lines[:kept]))
    harmed = tree(out)
    missing = len(lines) - kept
    told = "lines are missing: " + (
        f"{missing} of {len(lines)}" if len(split) == 1 else r"those of \d+ pictures that are there"
    )
    for use in (synth.report, lambda out: synth.export(out, "coco")):
        with pytest.raises(mh.OptionError, match=told + ".*`resume` makes these samples again"):
            use(out)
    assert tree(out) == harmed
    assert not synth.verify(out, progress=False).ok
    assert synth.resume(out, backend="serial").made_now == missing
    assert tree(out) == before


def test_pictures_that_somebody_has_added_are_no_samples(place, finished):
    add_picture(finished, None)
    assert synth.export(finished, "coco")
    assert synth.report(finished).exists()


@pytest.fixture
def finished(place):
    """A small dataset."""
    return synth.generate(config(place, count=6, formats=("yolo", "coco")), place / "ds", backend="serial").out


def test_poisson_gives_the_same_bytes_on_other_processors(place):
    """OpenCV takes other code on each."""
    script = """
        import hashlib
        import numpy as np
        from manyhands.apps.synth import blending
        rng = np.random.default_rng(0)
        under, colour = rng.integers(0, 256, (2, 150, 200, 3), dtype=np.uint8)
        blending.poisson(under, colour, rng.random((150, 200)) < 0.9)
        print(hashlib.sha256(under.tobytes()).hexdigest())
    """
    made = {programs.run_source(script, cwd=place, env=programs.environment(OPENCV_IPP=kind)).stdout
            for kind in ("sse42", "avx2", "avx512")}  # fmt: skip
    assert len(made) == 1


def make_here(place, out="ds", **settings):
    """In this process: quick for a few pictures."""
    return synth.generate(config(place, **{"formats": "yolo"} | settings), place / out, backend="serial")


def test_a_class_that_came_out_empty_is_told_with_what_to_change(place):
    """The dog is 12 wide and 30 high."""
    summary = make_here(place, aspect=(0.9, 5), scale=1, count=10)
    assert summary.classes == {"cat": 8, "dog": 0}
    assert "8 objects are labelled: cat 8, dog 0" in str(summary)
    assert "note: class dog: in none of its samples (2) an object found a place (2 aspect): look at aspect" in str(
        summary
    )
    summary = make_here(place, "few", count=1)
    assert "note: class dog: no picture has one of its objects: raise count" in str(summary)


def test_many_classes_are_told_by_the_fewest_and_the_most(place):
    shutil.rmtree(place / "photo")
    for number in range(13):
        (place / "photo" / f"c{number:02}").mkdir(parents=True)
        cut_out(COLOURS["cat"]).save(place / "photo" / f"c{number:02}" / "a.png")
    shutil.copy(place / "photo" / "c05" / "a.png", place / "photo" / "c05" / "b.png")
    assert "56 objects are labelled, of 13 classes: from 4 (c00) to 8 (c05)" in str(make_here(place))


def test_a_split_that_was_asked_for_and_is_empty_is_not_replaced_by_another(place):
    """The training pictures, for one, would make a fine test."""
    for number in range(1, 4):
        (place / "back" / f"b{number}.png").unlink()
    summary = make_here(place, split=(0.5, 0.5))
    assert "note: val: there is no picture in it, since there are too few inputs" in str(summary)
    assert (place / "ds" / "data.yaml").read_text().splitlines()[:2] == ["train: images/train", "val: images/val"]
    assert synth.verify(place / "ds", progress=False).problems == ()
    make_here(place, "one")
    assert "val: images/train" in (place / "one" / "data.yaml").read_text()


def test_a_split_for_which_the_count_is_too_small_says_so(place):
    """There are inputs for it: more of these would not help."""
    summary = make_here(place, split=(0.5, 0.5), count=1)
    assert summary.splits == {"train": 1}
    assert "note: val: there is no picture in it, since count is too small for this split: raise it" in str(summary)
    assert "too few inputs" not in str(summary)
    assert "val" in make_here(place, "more", split=(0.5, 0.5), count=9).splits


def test_objects_are_not_pasted_as_distractors_as_well(place):
    """They would not be labelled."""
    (place / "other").mkdir()
    shutil.copy(place / "photo" / "cat" / "c0.png", place / "other" / "x.png")
    with pytest.raises(synth.InputProblems, match=r"x\.png: this distractor is the same file as the object .*c0\.png"):
        make_here(place, distractors=place / "other")


def linked_class(place):
    (place / "back" / "more").symlink_to(place / "photo" / "cat")


def copied_object(place):
    shutil.copy(place / "photo" / "cat" / "c0.png", place / "back" / "x.png")


def masks_among_backgrounds(place):
    masked(place, "back/mask")
    return {"masks": place / "back" / "mask"}


def copied_object_with_a_mask(place):
    copied_object(place)
    masked(place, "mask")
    return {"masks": place / "mask"}


def masked(place, folder):
    """All white: masks for all objects."""
    for picture in (place / "photo").rglob("*.png"):
        mask = place / folder / picture.relative_to(place / "photo")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size_of(picture), 255).save(mask)


def nested(inner, outer, name):
    told = f"{inner}: the objects are in {outer}, where the {name}s are: each object would be a {name} as well"
    return rf"{told}, and not labelled there: name another folder"


@pytest.mark.parametrize(
    ("arrange", "told"),
    [
        (lambda place: {"backgrounds": place}, nested(".*/photo", r"\S+", "background")),
        (lambda place: {"distractors": place}, nested(".*/photo", r"\S+", "distractor")),
        (lambda place: {"backgrounds": place / "photo"}, "/photo: objects and backgrounds are in the same folder: "),
        (lambda place: {"objects": place}, "/back: the backgrounds are in .*, where the objects are: each object"),
        (masks_among_backgrounds, "/mask: the masks are in .*/back, where the backgrounds are: each mask would be a"),
        (linked_class, r"more/c0\.png: this background is the same file as the object .*/photo/cat/c0\.png: leave it"),
        (copied_object, r"x\.png: this background is the same file as the object .*/photo/cat/c0\.png: leave it out"),
        (copied_object_with_a_mask, r"x\.png: this background is the same file as the object .*/photo/cat/c0\.png"),
    ],
)  # fmt: skip
def test_objects_are_not_backgrounds_as_well(place, tmp_path_factory, arrange, told):
    """There they would be seen, and not labelled."""
    settings, out = arrange(place) or {}, tmp_path_factory.mktemp("out")
    with pytest.raises(synth.InputProblems, match=told):
        make_here(place, out, **settings)
    assert list(out.iterdir()) == []


def test_all_pictures_of_two_roles_are_told_at_once(place):
    linked_class(place)
    (place / "other").mkdir()
    (place / "other" / "y.png").symlink_to(place / "photo" / "dog" / "d 狗.png")
    with pytest.raises(synth.InputProblems) as caught:
        make_here(place, distractors=place / "other", backgrounds=place / "back")
    assert len(caught.value.problems) == 4 + 1


def test_folders_side_by_side_or_hidden_in_one_another_will_do(place):
    """And a picture may be its own mask, and a distractor a background: nothing of that is seen without its label."""
    (place / "back").rename(place / "photo" / ".back")
    masked(place, "photo_copy")
    for picture in (place / "photo" / "cat").iterdir():
        cut_out((255, 255, 255)).save(picture)
        Image.new("L", size_of(picture), 255).save(place / "photo_copy" / "cat" / picture.name)
    leaf = cut_out((250, 250, 0), 14, 14)
    (place / "other").mkdir()
    for folder in ("other", "photo/.back"):
        leaf.save(place / folder / "leaf.png")
    settings = {"backgrounds": place / "photo" / ".back", "distractors": place / "other", "count": 2}
    assert make_here(place, masks=place / "photo_copy", **settings).planned == 2
    assert make_here(place, "own", masks=place / "photo", **settings).planned == 2


@pytest.mark.parametrize("name", ["back/lost.png", "back/lost", "other/lost.png", "mask/cat/lost.png", "photo/lost"])
def test_links_that_lead_nowhere_are_told(place, name):
    """Pictures may lie on a disk that is not there today: without them it would be another dataset."""
    masked(place, "mask")
    (place / "other").mkdir()
    cut_out((250, 250, 0)).save(place / "other" / "leaf.png")
    (place / name).symlink_to(place / "nowhere")
    with pytest.raises(synth.InputProblems, match=r"lost(\.png)?: this link leads nowhere"):
        make_here(place, masks=place / "mask", distractors=place / "other")


def test_a_photo_in_two_classes_and_splits_is_told_whatever_its_masks_are(place):
    shutil.rmtree(place / "photo" / "dog")
    shutil.copytree(place / "photo" / "cat", place / "photo" / "dog")
    masked(place, "mask")
    for number in range(4):
        whole = size_of(place / f"photo/dog/c{number}.png")
        mask = Image.new("L", whole, 0)
        mask.paste(255, (2, 2, 15, 15))
        mask.save(place / f"mask/dog/c{number}.png")
    notes = make_here(place, masks=place / "mask", split=(0.5, 0.5)).notes
    assert any("are the same picture, in train and val: leave out all but one" in note for note in notes)


def test_distractors_of_which_none_can_be_used_are_told(place):
    (place / "other").mkdir()
    background(1).save(place / "other" / "x.png")
    with pytest.raises(synth.InputProblems, match=r"no distractor can be used\n.*x\.png: .*save it with an alpha chan"):
        make_here(place, distractors=place / "other")
    with pytest.raises(mh.OptionError, match="distractors_per_image needs distractors"):
        config(place, distractors_per_image=3)


def test_poisson_is_told_to_hide_objects(place):
    assert "note: with poisson, objects can nearly disappear" in str(make_here(place, blend="poisson", count=3))


def test_objects_that_nothing_is_cut_out_of_are_told(place):
    Image.new("RGBA", (20, 20), "red").save(place / "photo" / "cat" / "whole.png")
    told = "nothing is cut away from objects/cat/whole.png: the alpha channel or mask covers the whole picture"
    assert told in make_here(place, count=5).notes


def test_a_folder_that_is_not_utf8_is_told_before_anything_is_read(place):
    odd = place / os.fsdecode(b"mask\xff")
    for picture in (place / "photo").rglob("*.png"):
        mask = odd / picture.relative_to(place / "photo")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size_of(picture), 255).save(mask)
    with pytest.raises(synth.InputProblems, match="is not UTF-8, and the dataset keeps where its masks are"):
        make_here(place, masks=odd)
    assert not (place / "ds").exists()


def unended(image, mask, rng):
    raise GeneratorExit


@pytest.mark.parametrize(
    ("func", "told"),
    [
        (lambda image, mask, rng: (image[0], mask[0]), r"returned uint8 \(\d+, 3\) and uint8 \(\d+,\); it must return"),
        (lambda image, mask, rng: (image[0, 0], mask[0, 0]), r"returned uint8 \(3,\) and uint8 \(\); it must return"),
        (
            lambda image, mask, rng: (np.repeat(image[..., None, :], 2, 2), np.repeat(mask[..., None], 2, 2)),
            "it must return arrays of uint8",
        ),
        (
            lambda image, mask, rng: (image[:7, :9], mask[:8, :9]),
            "returned an image of 9 x 7 pixels and a mask of 9 x 8 pixels; they must have the same size",
        ),
        (lambda image, mask, rng: (image[:0], mask[:0]), "returned an image without a pixel"),
        (unended, "unended raised GeneratorExit"),
    ],
)  # fmt: skip
def test_what_a_function_may_not_return_is_told(place, func, told):
    with pytest.raises(synth.AugmentFailed, match=told):
        make_here(place, augment=func)


def test_a_function_that_leaves_nothing_of_an_object_is_named(place):
    summary = make_here(place, count=5, augment=lambda image, mask, rng: (image, mask * 0))
    assert summary.given_up == {"emptied by augment": 5}
    assert "look at what augment returns" in str(summary)


def test_a_function_that_is_not_repeatable_is_named(place):
    calls = iter(range(10**9))

    def other(image, mask, rng):
        return image - np.uint8(next(calls) % 200), mask

    out = make_here(place, count=4, augment=other).out
    found = synth.verify(out, augment=other, workers=1, progress=False)
    assert "is your function repeatable? It must draw from its rng alone" in found.problems[0]


@pytest.mark.parametrize("count", [600, 0, "3", 1.5, True])
def test_a_sheet_has_room_for_so_many(place, count):
    with pytest.raises(mh.OptionError, match=r"count is a whole number from 1 to 400, for which a sheet has room; got"):
        synth.preview(config(place), place / "sheet.jpg", count=count)


def test_a_sheet_takes_little_memory_however_large_its_pictures_are(place):
    """Whole ones take 30 MB each: in a program of its own, since what was the most is not given back."""
    script = """
        import pathlib, resource
        from manyhands.apps import synth
        here = pathlib.Path.cwd()
        config = synth.example(here, times=4, size=(3000, 2000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert synth.preview(config, here / "sheet.jpg", count=24) == 24
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    assert int(programs.run_source(script, cwd=place).stdout) < 600_000  # kB


def test_verify_tells_names_also_where_the_terminal_has_no_letters_for_them(place, finished):
    name = finished.rename(place / "数据集")
    next((name / "images" / "train").iterdir()).unlink()
    line, how = command("verify", name, cwd=place)
    how["env"] |= {"PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(line, capture_output=True, check=False, timeout=programs.PATIENCE, **how)
    assert ran.returncode == 1
    assert "数据集" in ran.stdout.decode()
    assert b"Traceback" not in ran.stderr


def test_a_page_and_a_dataset_are_not_written_among_inputs_or_into_a_dataset(place, finished):
    other = make_here(place, "other", count=1).out
    for to in (other / "images" / "x.html", other / "x.html", finished / "images" / "x.html"):
        with pytest.raises(mh.OptionError, match="is in the dataset"):
            synth.report(finished, to)
    with pytest.raises(mh.OptionError, match="where the backgrounds are"):
        synth.report(finished, place / "back" / "x.html")
    with pytest.raises(mh.OptionError, match="is in the dataset"):
        make_here(place, "other/inner")
    assert synth.report(finished, finished / "x.html").exists()
    assert synth.report(finished, place / "x.html").exists()


def test_folders_that_link_to_one_another_are_looked_at_once(place):
    """Each way through eleven of them would take years."""
    names = [f"f{number}" for number in range(11)]
    for name in names:
        (place / "back" / name).mkdir()
        background(ord(name[1])).save(place / "back" / name / f"{name}.png")
    for name in names:
        for other in names:
            (place / "back" / name / f"to-{other}").symlink_to(place / "back" / other)
    keys = synth.plan(config(place)).stocks["train"].backgrounds
    assert len(keys) == 4 + 11
    assert {key.rpartition("/")[2] for key in keys} == {path.name for path in (place / "back").rglob("*.png")}


@pytest.mark.parametrize("name", ["background", "a:b", "#a"])
def test_a_class_that_cannot_be_called_so_in_voc_is_told(place, name):
    (place / "photo" / "dog").rename(place / "photo" / name)
    with pytest.raises(synth.InputProblems, match=r"labelmap\.txt the name .*: rename the class, or leave voc out"):
        make_here(place, formats="voc")
    out = make_here(place, count=5).out
    with pytest.raises(mh.OptionError, match=r"labelmap\.txt the name"):
        synth.export(out, "voc")
    assert not (out / "voc").exists()


def test_hidden_colours_do_not_bleed_in_however_much_is_blurred(place):
    shutil.rmtree(place / "photo")
    (place / "photo" / "frame").mkdir(parents=True)
    frame = Image.new("RGBA", (200, 200), (255, 0, 0, 255))
    frame.paste((0, 255, 0, 0), (20, 20, 180, 180))
    frame.save(place / "photo" / "frame" / "a.png")
    out = make_here(place, scale=0.2, rotate=10, blur=30, brightness=1, image_format="png", max_truncation=0).out
    for record in records(out):
        mask = labels.mask_of(record.labels[0].rle, record.size)
        assert pixels_of(picture_of(out, record))[mask][:, 1].max() <= 1


def test_a_name_that_a_terminal_would_obey_is_shown_as_text(place):
    (place / "back" / "\x1b[31mred\n.png").write_bytes(b"no picture")
    told = str(make_here(place, count=3))
    assert r"\x1b[31mred\n.png: it is no picture" in told
    assert "\x1b" not in told
    background(9).save(place / "back" / "\x1b[31mnew\n.png")
    with pytest.raises(mh.OptionError) as caught:
        make_here(place, count=3)
    assert r"backgrounds/\x1b[31mnew\n.png: is new" in str(caught.value)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda place: synth.from_mapping(None), "settings are names and values, as of a dict; got None"),
        (lambda place: synth.replay(place / "ds", 3), "a sample is named by a string, its identity; got 3"),
        (lambda place: config(place, formats=["voc", "voc"]), "any of voc, yolo, coco, each once"),
        (lambda place: synth.from_mapping({"out": "ds"}), "the dataset's folder is named by --out"),
        (lambda place: synth.from_mapping({3: "ds"}), "there is no setting 3; there are objects"),
        (lambda place: config(place, objects=""), "objects takes a folder; got ''"),
        (lambda place: config(place, split="0.8/0.1/0.1"), r"as [0.8, 0.1, 0.1] in a file"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_told(place, finished, use, told):
    with pytest.raises((mh.OptionError), match=re.escape(told)):
        use(place)


def test_numbers_may_be_those_of_numpy(place):
    assert config(place, scale=np.float32(0.5), rotate=np.int64(5)).scale == (0.5, 0.5)


def test_an_empty_name_of_a_folder_is_not_the_folder_of_the_file(place):
    (place / "synth.toml").write_text("objects = ''\nbackgrounds = 'back'\n")
    with pytest.raises(mh.OptionError, match="objects takes a folder; got ''"):
        synth.load(place / "synth.toml")


def test_a_command_without_sense_is_told(place, finished):
    run = ["run", "--objects", "photo", "--backgrounds", "back", "--out"]
    for args, told in (
        (["run"], "Missing option '--out'"),
        ([*run, ""], "--out '': name a folder"),
        ([*run, "new", "--preview", "9" * 5000], "write all, none, or a number"),
        ([*run, "new", "--size", "9" * 5000 + "x1"], "write WIDTHxHEIGHT"),
        ([*run, "new", "--distractors-per-image", "1:2"], "--distractors-per-image needs distractors"),
    ):
        code, _, error = run_command(*args, cwd=place)
        assert (code, told in error, "Traceback" in error) == (2, True, False)
    name = next((finished / "images" / "train").iterdir())
    name.unlink()
    code, _, error = run_command("replay", "ds", name.stem, cwd=place)
    assert code == 1
    assert "the file in the dataset is missing: `manyhands synth resume` makes it" in error
    code, out, error = run_command(cwd=place)
    assert (code, "Usage" in out, error) == (0, True, "")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="pydantic, which typer asks, fails in such a folder there")
def test_a_folder_that_was_removed_under_our_feet_is_told(place):
    (place / "gone").mkdir()
    script = "import os, shutil, sys; shutil.rmtree(os.getcwd()); from manyhands.cli import main; sys.exit(main())"
    args = ["run", "--objects", "photo", "--backgrounds", "back", "--out", "ds"]
    ran = subprocess.run(
        [sys.executable, "-c", script, "synth", *args], cwd=place / "gone", env=programs.environment(), text=True,
        capture_output=True, check=False, timeout=programs.PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 2
    assert "the folder you are in was removed: change to another one" in ran.stderr
