"""The images application: what becomes of pictures of every kind, and of a run that is ended in the midst of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import zlib
from pathlib import Path

import numpy as np
import programs
import psutil
import pytest
from PIL import Image, ImageCms, ImageFile, ImageFilter
from watching import eventually

import manyhands as mh
from manyhands.apps import digests, images
from manyhands.apps.images.sizes import fit
from manyhands.cli.app import execute


def noise(width=64, height=48, mode="RGB", seed=0):
    bands = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    data = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(data[:, :, 0] if bands == 1 else data, mode if mode == "CMYK" else None)


def tree(folder):
    """Every file with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    noise(seed=1).save(folder / "a.png")
    noise(80, 60, seed=2).save(folder / "b.jpg")
    noise(seed=3).save(folder / "trip" / "ü 图.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def only(summary):
    (done,) = summary.done
    return done


# --- sizes, pure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "wanted", "mode", "size", "canvas"),
    [
        ((800, 600), (200, 200), "stretch", (200, 200), (200, 200)),
        ((800, 600), (200, 200), "contain", (200, 150), (200, 150)),
        ((800, 600), (200, 200), "cover", (200, 200), (200, 200)),
        ((800, 600), (200, 200), "pad", (200, 150), (200, 200)),
        ((800, 600), (200, None), "stretch", (200, 150), (200, 150)),
        ((800, 600), (None, 300), "cover", (400, 300), (400, 300)),
        ((10_000, 1), (100, 100), "contain", (100, 1), (100, 1)),
    ],
)
def test_fit(source, wanted, mode, size, canvas):
    found = fit(source, wanted, mode)
    assert (found.size, found.canvas) == (size, canvas)


@pytest.mark.parametrize("mode", ["stretch", "contain", "cover"])
def test_without_upscaling_a_small_picture_stays_as_it_is(mode):
    assert fit((50, 40), (200, 200), mode, upscale=False).size == (50, 40)


def test_box_gives_the_mean_and_lanczos_is_sharper(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    means = levels.reshape(15, 4, 20, 4, 3).mean((1, 3))
    spread = {}
    for resample in ("box", "bilinear", "bicubic", "lanczos"):
        images.process(tmp_path / "a.png", tmp_path / resample, [images.Resize("20x15", resample=resample)])
        made = np.asarray(Image.open(tmp_path / resample / "a.png"))
        spread[resample] = made.std()
        if resample == "box":
            assert np.abs(made - means).max() <= 1
    assert spread["bilinear"] < spread["bicubic"] < spread["lanczos"]


def test_another_resampling_makes_an_output_anew_and_the_usual_one_goes_without_saying(photos, tmp_path):
    assert images.Resize("5x5").key == images.Resize("5x5", resample="lanczos").key == "resize(5x5, stretch)"
    for resample, status in (("lanczos", "written"), ("box", "written"), ("box", "up to date")):
        step = images.Resize("5x5", resample=resample)
        assert images.process(photos / "a.png", tmp_path / "out", [step]).count(status) == 1
    with pytest.raises(mh.OptionError, match="no resample 'nearest'; choose one of lanczos, bicubic, bilinear, box"):
        images.Resize("5x5", resample="nearest")


# --- what is made -------------------------------------------------------------------------------------------


def test_a_folder_becomes_another(photos, tmp_path):
    before = tree(photos)
    summary = images.process(photos, tmp_path / "out", [images.Resize("20x20")], recursive=True, format="jpg")
    assert summary.count("written") == 3
    assert summary.ok
    made = {path for path in tree(tmp_path / "out") if not path.startswith(".")}
    assert made == {"a.jpg", "b.jpg", "trip/ü 图.jpg"}
    for name in made:
        with Image.open(tmp_path / "out" / name) as picture:
            assert (picture.format, picture.size) == ("JPEG", (20, 20))
    assert tree(photos) == before


def test_folders_within_are_left_out_unless_asked_for(photos, tmp_path):
    assert images.process(photos, tmp_path / "out").count("written") == 2


@pytest.mark.parametrize("name", images.FILTERS)
def test_filters_are_those_of_pillow(photos, tmp_path, name):
    kernel = {"edges": "FIND_EDGES"}.get(name, name.upper())
    images.process(photos / "a.png", tmp_path / "out", [images.Filter(name)])
    with Image.open(photos / "a.png") as source, Image.open(tmp_path / "out" / "a.png") as made:
        assert np.array_equal(np.asarray(made), np.asarray(source.filter(getattr(ImageFilter, kernel))))


def test_several_outputs_come_from_one_reading(photos, tmp_path):
    several = {"small": [images.Resize("10x10")], "edgy": [images.Filter("edges")]}
    images.process(photos / "a.png", tmp_path / "out", several)
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a_small.png", "a_edgy.png"}


def brighten(array):
    assert array.dtype == np.uint8
    return np.clip(array.astype(int) + 50, 0, 255).astype(np.uint8)


def mirror(image: Image.Image):
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.mark.parametrize("func", [brighten, mirror])
@pytest.mark.parametrize("backend", ["threads", "processes", None])
def test_a_function_of_the_users_is_applied(photos, tmp_path, func, backend):
    images.process(photos / "a.png", tmp_path / "out", [images.Apply(func)], backend=backend)
    with Image.open(photos / "a.png") as source, Image.open(tmp_path / "out" / "a.png") as made:
        expected = func(np.asarray(source)) if func is brighten else np.asarray(mirror(source))
        assert np.array_equal(np.asarray(made), expected)


def test_shrinking_does_not_alias(tmp_path):
    board = np.indices((600, 600)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    images.process(tmp_path / "board.png", tmp_path / "out", [images.Resize("100x100")])
    with Image.open(tmp_path / "out" / "board.png") as made:
        assert np.asarray(made).std() < 2


# --- kinds of pictures --------------------------------------------------------------------------------------


def turned(path):
    picture = noise(40, 20)
    exif = picture.getexif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    picture.save(path, exif=exif)


def test_pictures_are_turned_upright(tmp_path):
    turned(tmp_path / "a.jpg")
    images.process(tmp_path / "a.jpg", tmp_path / "out", keep=["exif"])
    with Image.open(tmp_path / "out" / "a.jpg") as made:
        assert made.size == (20, 40)
        assert (made.getexif()[0x0112], made.getexif()[0x010F]) == (1, "a camera")


def test_or_are_not_and_keep_nothing(tmp_path):
    turned(tmp_path / "a.jpg")
    images.process(tmp_path / "a.jpg", tmp_path / "out", orient=False)
    with Image.open(tmp_path / "out" / "a.jpg") as made:
        assert made.size == (40, 20)
        assert not made.getexif()


KINDS = {
    "palette": lambda path: noise().convert("P").save(path.with_suffix(".png")),
    "palette with transparency": lambda path: noise(mode="RGBA").quantize(16).save(path.with_suffix(".png")),
    "one bit": lambda path: noise().convert("1").save(path.with_suffix(".png")),
    "grey": lambda path: noise(mode="L").save(path.with_suffix(".png")),
    "grey with alpha": lambda path: noise().convert("LA").save(path.with_suffix(".png")),
    "alpha": lambda path: noise(mode="RGBA").save(path.with_suffix(".png")),
    "cmyk": lambda path: noise(mode="CMYK").save(path.with_suffix(".jpg")),
    "16 bit": lambda path: Image.fromarray(np.full((48, 64), 0x8000, np.uint16)).save(path.with_suffix(".png")),
    "animation": lambda path: noise().save(
        path.with_suffix(".gif"), save_all=True, append_images=[noise(seed=n) for n in range(1, 4)]
    ),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_becomes_every_format(tmp_path, kind, suffix):
    KINDS[kind](tmp_path / "picture")
    (source,) = tmp_path.glob("picture.*")
    steps = [images.Resize("16x12"), images.Filter("blur")]
    done = only(images.process(source, tmp_path / "out", steps, format=suffix))
    assert (done.status, done.reason) == ("written", "")
    with Image.open(tmp_path / "out" / f"picture.{suffix}") as made:
        assert made.size == (16, 12)
        if kind == "16 bit":
            assert abs(int(np.asarray(made.convert("L")).mean()) - 0x80) <= 1


def test_what_was_transparent_shows_the_background(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    made = only(images.process(tmp_path / "clear.png", tmp_path / "out", format="jpg", background="#ff0000"))
    assert made.notes == ["what is transparent shows the background"]
    with Image.open(tmp_path / "out" / "clear.jpg") as made:
        red, green, _ = made.getpixel((4, 4))
        assert red > 240
        assert green < 20


def test_padding_has_the_background(tmp_path):
    noise(100, 50).save(tmp_path / "wide.png")
    images.process(tmp_path / "wide.png", tmp_path / "out", [images.Resize("50x50", "pad")], background="black")
    with Image.open(tmp_path / "out" / "wide.png") as made:
        assert made.size == (50, 50)
        assert made.getpixel((0, 0)) == (0, 0, 0)


def test_all_frames_of_an_animation(tmp_path):
    KINDS["animation"](tmp_path / "move")
    images.process(tmp_path / "move.gif", tmp_path / "out", format="png", frames="all")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"move_00{n}.png" for n in range(4)]
    done = only(images.process(tmp_path / "move.gif", tmp_path / "other", frames="error"))
    assert done.kind == "unsupported"


def test_a_colour_profile_is_kept_or_applied(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    lab = ImageCms.profileToProfile(noise(), ImageCms.createProfile("sRGB"), profile, outputMode="LAB")
    lab.save(tmp_path / "lab.tif", icc_profile=profile.tobytes())
    done = only(images.process(tmp_path / "lab.tif", tmp_path / "out", format="png"))
    assert "converted to sRGB" in done.notes
    with Image.open(tmp_path / "out" / "lab.png") as made:
        assert abs(np.asarray(made).astype(int) - np.asarray(noise())).mean() < 3


# --- what cannot be used ------------------------------------------------------------------------------------


def bomb(path):
    """A PNG whose header promises ten thousand megapixels."""

    def part(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"")))


def cut(path):
    whole = io.BytesIO()
    noise(200, 200).save(whole, "JPEG")
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])


BAD = {
    "empty.jpg": (lambda path: path.write_bytes(b""), "empty"),
    "text.png": (lambda path: path.write_text("not a picture"), "not a picture"),
    "cut.jpg": (cut, "damaged"),
    "header.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40), "not a picture"),
    "bomb.png": (bomb, "too large"),
    "link.png": (lambda path: path.symlink_to("nowhere.png"), "unreadable"),
}


def test_bad_files_are_named_with_the_reason_and_the_rest_goes_on(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        noise(seed=number).save(folder / f"good{number}.png")
    for name, (make, _) in BAD.items():
        make(folder / name)
    summary = images.process(folder, tmp_path / "out", [images.Resize("10x10")], format="jpg")
    assert summary.count("written") == 20
    assert {Path(one.source).name: one.kind for one in summary.failed} == {
        name: kind for name, (_, kind) in BAD.items()
    }
    assert all(one.reason for one in summary.failed)
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 20


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.bmp"])
def test_a_file_that_is_cut_short_is_told_without_a_number_of_bytes(tmp_path, name):
    noise().save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert only(images.process(tmp_path / name, tmp_path / "out")).reason == "the file is cut short: its end is missing"


def test_what_can_be_read_of_a_broken_file_is_kept_if_asked_for(tmp_path):
    cut(tmp_path / "cut.jpg")
    done = only(images.process(tmp_path / "cut.jpg", tmp_path / "out", on_truncated="salvage"))
    assert done.status == "written"
    assert any("damaged" in note for note in done.notes)


def test_a_function_that_raises_fails_its_own_picture(photos, tmp_path):
    def picky(array):
        if array.shape[1] == 80:
            raise ValueError("too wide for me")
        return array

    summary = images.process(photos, tmp_path / "out", [images.Apply(picky)])
    assert [(Path(one.source).name, one.kind) for one in summary.failed] == [("b.jpg", "operation")]
    assert "picky raised ValueError: too wide for me (test_images.py, line " in summary.failed[0].reason
    assert not (tmp_path / "out" / "b.jpg").exists()


def test_the_pixel_limit_is_the_users(tmp_path):
    noise(100, 100).save(tmp_path / "a.png")
    assert only(images.process(tmp_path / "a.png", tmp_path / "out", max_pixels=9_999)).kind == "too large"
    assert only(images.process(tmp_path / "a.png", tmp_path / "out", max_pixels=10_000)).status == "written"


# --- before anything is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "quality"),
        ({"format": "docx"}, "format"),
        ({"name": "same.{ext}"}, "collide"),
        ({"name": "{rel}/{nothing}.{ext}"}, "unknown field"),
        ({"name": "../{stem}.{ext}"}, "leads out"),
        ({"keep": ["everything"]}, "keep"),
        ({"background": "colourless"}, "colour"),
        ({"on_conflict": "hope"}, "on_conflict"),
        ({"frames": "last"}, "frames"),
        ({"max_pixels": 0}, "max_pixels"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(photos, tmp_path, options, message):
    with pytest.raises(mh.OptionError, match=message):
        images.process(photos, tmp_path / "out", recursive=True, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", ["200", "0x200", "x", "axb", "200x200x3"])
def test_what_is_no_size_is_refused(wrong):
    with pytest.raises(mh.OptionError, match="WIDTHxHEIGHT"):
        images.Resize(wrong)


@pytest.mark.parametrize("wrong", ["sepia", "blur(", "blur(a)", "emboss(2)", "blur(-1)"])
def test_what_is_no_filter_is_refused(wrong):
    with pytest.raises(mh.OptionError):
        images.parse_filter(wrong)


def test_files_that_would_become_one_are_found_before(tmp_path):
    noise().save(tmp_path / "a.png")
    noise().save(tmp_path / "a.tif")
    with pytest.raises(mh.OptionError, match=r"a\.png and .*a\.tif would both become"):
        images.process([tmp_path / "a.png", tmp_path / "a.tif"], tmp_path / "out", format="jpg")


def test_the_output_is_not_in_the_source_unless_asked_for(photos):
    with pytest.raises(mh.OptionError, match="lies in the source folder"):
        images.process(photos, photos / "small")
    with pytest.raises(mh.OptionError, match="lies in the source folder"):
        images.process(photos, photos)
    for _ in range(2):
        images.process(photos, photos / "small", recursive=True, out_inside=True)
    assert len(list((photos / "small").rglob("*.*g"))) == 3


def test_a_source_is_never_an_output(photos):
    with pytest.raises(mh.OptionError, match="never written to"):
        images.process(photos, photos, out_inside=True)


def test_a_dry_run_writes_nothing(photos, tmp_path):
    summary = images.process(photos, tmp_path / "out", format="jpg", dry_run=True)
    assert [Path(one.outputs[0]).name for one in summary.done if one.status == "planned"] == ["a.jpg", "b.jpg"]
    assert not (tmp_path / "out").exists()


# --- again --------------------------------------------------------------------------------------------------


STATE = ".manyhands-images.jsonl"


def run_again(photos, out, *steps, **options):
    summary = images.process(photos, out, steps or [images.Resize("10x10")], **options)
    return {Path(one.source).name: one.status for one in summary.done}


def test_a_second_run_does_only_what_is_missing_or_stale(photos, tmp_path):
    out = tmp_path / "out"
    assert set(run_again(photos, out).values()) == {"written"}
    assert set(run_again(photos, out).values()) == {"up to date"}
    again = images.process(photos, out).done
    assert sorted(path for one in again for path in one.outputs) == sorted(map(str, out.glob("*.*g")))
    (out / "a.png").unlink()
    noise(90, 90).save(photos / "b.jpg")
    assert run_again(photos, out) == {"a.png": "written", "b.jpg": "written"}
    assert set(run_again(photos, out, images.Resize("11x11")).values()) == {"written"}
    assert set(run_again(photos, out, images.Resize("11x11"), quality=50).values()) == {"written"}


def test_a_function_that_has_changed_makes_its_outputs_stale(photos, tmp_path):
    def darker(array):
        return array // 2

    def other(array):
        return array // 3

    other.__qualname__ = darker.__qualname__
    run_again(photos, tmp_path / "out", images.Apply(darker))
    assert set(run_again(photos, tmp_path / "out", images.Apply(darker)).values()) == {"up to date"}
    assert set(run_again(photos, tmp_path / "out", images.Apply(other)).values()) == {"written"}


@pytest.mark.parametrize(
    ("on_conflict", "status", "files"),
    [
        ("skip", "skipped", {"a.png": True}),
        ("newer", "skipped", {"a.png": True}),
        ("overwrite", "written", {"a.png": False}),
        ("rename", "written", {"a.png": True, "a_1.png": False}),
    ],
)
def test_what_no_run_has_made_is_treated_as_asked_for(photos, tmp_path, on_conflict, status, files):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    assert run_again(photos / "a.png", out, on_conflict=on_conflict) == {"a.png": status}
    assert {path.name: path.read_bytes() == b"mine" for path in out.glob("*.png")} == files


def test_a_renamed_output_is_found_again(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    for status in ("written", "up to date"):
        assert run_again(photos / "a.png", out, on_conflict="rename") == {"a.png": status}
    assert run_again(photos / "a.png", out, images.Resize("5x5"), on_conflict="rename") == {"a.png": "written"}
    assert {path.name for path in out.glob("*.png")} == {"a.png", "a_1.png"}
    assert (out / "a.png").read_bytes() == b"mine"


def test_two_outputs_of_a_file_that_would_become_one_are_found_before(photos, tmp_path):
    same = {"one": [images.Resize("5x5")], "two": [images.Resize("5x5", "pad")]}
    with pytest.raises(mh.OptionError, match="two outputs of"):
        images.process(photos, tmp_path / "out", same, name="{stem}_{size}.{ext}")


def test_a_limit_above_that_of_pillow_holds(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert only(images.process(photos / "a.png", tmp_path / "out", max_pixels=10_000)).status == "written"
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_a_name_that_is_no_unicode_is_a_name_like_others(photos, tmp_path):
    odd = photos / os.fsdecode(b"\xc4\xe3.png")
    noise().save(odd)
    for status in ("written", "up to date"):
        summary = images.process(odd, tmp_path / "out")
        assert only(summary).status == status
        summary.write_manifest(tmp_path / "m.jsonl")


def test_or_is_an_error_before_anything_is_done(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    with pytest.raises(mh.OptionError, match="Move it away"):
        run_again(photos, out, on_conflict="error")
    assert [path.name for path in out.iterdir()] == ["a.png"]


def test_an_older_output_of_somebody_is_replaced_by_a_newer_source(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("mine")
    os.utime(out / "a.png", (1, 1))
    assert run_again(photos / "a.png", out, on_conflict="newer") == {"a.png": "written"}


# --- the command, and its end -------------------------------------------------------------------------------


def command(*args, cwd, before=()):
    """``before``: folders in which modules are looked for first."""
    env = programs.environment()
    env["PYTHONPATH"] = os.pathsep.join([*map(str, before), env["PYTHONPATH"]])
    ran = subprocess.run(
        [sys.executable, "-m", "manyhands", "images", *map(str, args)],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=programs.PATIENCE, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout, ran.stderr


def test_the_command_does_what_it_says(photos, tmp_path):
    cut(photos / "cut.jpg")
    code, _, told = command(
        photos, "-o", "out", "-r", "--resize", "20x", "--filter", "blur(2)", "--format", "jpg", "--manifest", "m.jsonl",
        cwd=tmp_path,
    )  # fmt: skip
    assert code == 1
    assert "4 pictures: 3 files written" in told
    assert "cut.jpg: " in told
    records = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert sorted(record["status"] for record in records) == ["failed", "written", "written", "written"]


def test_the_command_makes_an_output_for_each_filter_and_size(photos, tmp_path):
    options = ["--each-filter", "blur,edges", "--resize", "8x8", "--resize", "9x9", "--keep", "exif, icc"]
    code, _, _ = command(photos / "a.png", "-o", "out", *options, cwd=tmp_path)
    assert code == 0
    made = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert made == {f"a_{size}_{name}.png" for size in ("8x8", "9x9") for name in ("blur", "edges")}


def test_the_same_filter_of_two_strengths_gives_two_outputs(photos, tmp_path):
    code, _, told = command(photos / "a.png", "-o", "out", "--each-filter", "blur(1),blur(3)", cwd=tmp_path)
    assert code == 0, told
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a_blur1.png", "a_blur3.png"}


def test_without_pillow_the_command_says_what_to_install(photos, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "PIL.py").write_text("raise ModuleNotFoundError(name='PIL')\n")
    code, _, told = command(photos, "-o", "out", "--resize", "8x8", cwd=tmp_path, before=[tmp_path / "none"])
    assert code == 2
    assert "manyhands[images]" in told
    assert "Traceback" not in told


def test_the_command_applies_a_function_of_a_file(photos, tmp_path):
    (tmp_path / "mine.py").write_text("def invert(array):\n    return 255 - array\n")
    code, _, told = command(photos / "a.png", "-o", "out", "--apply", "mine.py:invert", cwd=tmp_path)
    assert code == 0, told
    with Image.open(photos / "a.png") as source, Image.open(tmp_path / "out" / "a.png") as made:
        assert np.array_equal(np.asarray(made), 255 - np.asarray(source))


def test_a_function_that_gives_nothing_back_is_told_as_that(photos, tmp_path):
    (tmp_path / "mine.py").write_text("def show(array):\n    array.sum()\n")
    code, _, told = command(photos / "a.png", "-o", "out", "--apply", "mine.py:show", cwd=tmp_path)
    assert code == 1
    assert "mine.show returned None; it must return an array of uint8 or an Image" in told


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere", "-o", "out"], "no file or folder"),
        (["photos/*.png", "-o", "out"], "--glob '*.png'"),
        (["photos/a.png", "-o", "out/small.jpg"], "name the folder"),
        (["photos", "-o", "out", "--filter", "blur,edges"], "one at a time"),
        (["photos", "-o", "out", "--resize", "big"], "WIDTHxHEIGHT"),
        (["photos", "-o", "out", "--filter", "sepia"], "no filter 'sepia'"),
        (["photos", "-o", "photos/out"], "lies in the source folder"),
        (["photos", "-o", "out", "--max-pixels", "many"], "--max-pixels"),
    ],
)
def test_a_wrong_command_is_told_in_one_line(photos, tmp_path, args, message):
    code, _, told = command(*args, cwd=tmp_path)
    assert code == 2
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_told_at_once(photos, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, _, told = command(photos, "-o", "out", cwd=tmp_path)
    assert code == 2
    assert "out" in told
    assert "Traceback" not in told


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    """At five moments, then undisturbed: the same tree as a run of its own, byte by byte, and nothing unfinished."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(120):
        noise(300, 200, seed=number).save(photos / f"{number:03}.png")
    args = [
        sys.executable,
        "-m",
        "manyhands",
        "images",
        "photos",
        "-o",
        "out",
        "--resize",
        "150x100",
        "--format",
        "jpg",
    ]
    for moment in range(5):
        run = subprocess.Popen(
            args, cwd=tmp_path, env=programs.environment(), stderr=subprocess.DEVNULL, start_new_session=True
        )
        wanted = 1 + 20 * moment
        eventually(lambda run=run, wanted=wanted: len(list(out.glob("*.jpg"))) >= wanted or run.poll() is not None)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    code, _, told = command("photos", "-o", "out", "--resize", "150x100", "--format", "jpg", cwd=tmp_path)
    assert code == 0, told
    assert "up to date" in told
    command("photos", "-o", "undisturbed", "--resize", "150x100", "--format", "jpg", cwd=tmp_path)
    assert tree(out) == tree(tmp_path / "undisturbed")
    assert len(list(out.iterdir())) == 121


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_an_interrupted_run_says_how_far_it_came_and_leaves_nothing_unfinished(tmp_path, number):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for seed in range(300):
        noise(300, 200, seed=seed).save(photos / f"{seed:03}.png")
    args = [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", "--resize", "290x190"]
    run = subprocess.Popen(
        args, cwd=tmp_path, env=programs.environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    eventually(lambda: len(list(out.glob("*.png"))) >= 20)
    if number == signal.SIGINT:
        os.killpg(run.pid, number)  # as a terminal does
    else:
        run.send_signal(number)
    _, told = run.communicate(timeout=programs.PATIENCE)
    assert run.returncode == 128 + number
    assert re.search(r"interrupted: at least \d+ of 300 pictures were made; run it again to go on$", told.strip()), told
    assert list(out.glob(".*.part")) == []


def test_an_error_that_every_picture_has_is_not_told_for_each(photos, tmp_path):
    def broken(array):
        raise ValueError("no\ngood")

    for number in range(20):
        noise(seed=number).save(photos / f"{number}.png")
    told = str(images.process(photos, tmp_path / "out", [images.Apply(broken)]))
    assert told.count(r"no\ngood") == 6  # on a line each
    assert "and 17 more: " in told


def test_an_error_that_every_picture_has_is_not_told_for_each_of_their_shapes(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(10):
        noise(20 + number, 30, mode="L" if number % 2 else "RGB").save(tmp_path / "in" / f"{number}.png")
    told = str(images.process(tmp_path / "in", tmp_path / "out", [images.Apply(lambda array: array / 255)]))
    assert told.count("an array of float64 of the shape (30, 2") == 5
    assert re.search(r"and 5 more: .* an array of float64 of the shape \.\.\.; it must return", told)


def test_errors_in_other_lines_are_told_apart(photos, tmp_path):
    def picky(array):
        if array.shape[1] > 70:
            raise ValueError("width")
        raise ValueError("width")

    for number in range(10):
        noise(80, seed=number).save(photos / f"{number}.png")  # looked at before a.png, which is less wide
    told = str(images.process(photos, tmp_path / "out", [images.Apply(picky)]))
    first = picky.__code__.co_firstlineno
    assert f"line {first + 2}" in told
    assert f"line {first + 3}" in told


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="needs root, to mount a small disk")
@pytest.mark.parametrize(("suffix", "default"), [("jpg", "raise"), ("png", "skip")])
def test_a_full_disk_stops_the_run_and_a_second_one_makes_what_is_missing(photos, tmp_path, suffix, default):
    """Also where failures of the user's own calls are passed over."""
    for number in range(20):
        noise(300, 300, seed=number).save(photos / f"{number}.png")
    out = tmp_path / "out"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", out], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        full = pytest.raises(OSError, match=r"the disk is full: at least .* Make room and run it again")
        with full, mh.configure(on_error=default):
            images.process(photos, out / "small", format=suffix, workers=2)
        assert not list(out.rglob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=40m", out], check=True)
        again = images.process(photos, out / "small", format=suffix, workers=2)
        assert again.ok
        for path in [output for one in again.done for output in one.outputs]:
            with Image.open(path) as image:
                image.load()  # to its end
    finally:
        subprocess.run(["umount", out], check=True)


def test_what_a_tiff_says_of_its_own_pixels_is_not_kept(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    noise(40, 20).save(tmp_path / "a.tif", exif=exif)
    images.process(tmp_path / "a.tif", tmp_path / "out", [images.Resize("10x")], keep=["exif"])
    with Image.open(tmp_path / "out" / "a.tif") as made:
        made.load()
        assert made.size == (10, 20)
        assert (made.getexif()[0x010F], made.getexif()[0x0112]) == ("Maker", 1)


def test_what_was_not_asked_for_is_not_kept(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise().save(tmp_path / "a.jpg", comment=b"secret", icc_profile=profile)
    for suffix in ("jpg", "png", "gif"):
        images.process(tmp_path / "a.jpg", tmp_path / "out", format=suffix)
        with Image.open(tmp_path / "out" / f"a.{suffix}") as made:
            assert not made.info.keys() & {"comment", "icc_profile"}


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_transparent_colour_shows_the_background(tmp_path, mode):
    image = Image.new(mode, (8, 8), (255, 0, 255) if mode == "RGB" else 7)
    image.save(tmp_path / "a.png", transparency=(255, 0, 255) if mode == "RGB" else 7)
    images.process(tmp_path / "a.png", tmp_path / "out", format="bmp", background="lime")
    with Image.open(tmp_path / "out" / "a.bmp") as made:
        assert made.convert("RGB").getpixel((3, 3)) == (0, 255, 0)


def test_a_function_may_return_any_mode_and_keeps_what_is_transparent(photos, tmp_path):
    def faded(image: Image.Image):
        return Image.new("LA", image.size, (200, 0))

    images.process(photos / "a.png", tmp_path / "out", [images.Apply(faded)], format="png")
    with Image.open(tmp_path / "out" / "a.png") as made:
        assert made.convert("RGBA").getpixel((0, 0))[3] == 0


def test_a_slip_in_a_size_is_refused(photos, tmp_path):
    with pytest.raises(mh.OptionError, match=r"99999 x 99999, more than 89,478,485 pixels: a slip"):
        images.process(photos, tmp_path / "out", [images.Resize("99999x99999")])
    summary = images.process(photos / "a.png", tmp_path / "out", [images.Resize("99999x")])
    assert "more than 89,478,485 pixels (--max-pixels)" in summary.failed[0].reason


def test_every_frame_is_held_against_the_limit(tmp_path):
    noise(10, 10).save(tmp_path / "a.tif", save_all=True, append_images=[noise(300, 300)])
    summary = images.process(tmp_path / "a.tif", tmp_path / "out", frames="all", max_pixels=1000)
    assert summary.failed[0].kind == "too large"


def test_a_program_that_takes_broken_files_for_whole_has_them_told_all_the_same(tmp_path, monkeypatch):
    noise(200, 200).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert images.process(tmp_path / "a.jpg", tmp_path / "out").failed[0].kind == "damaged"
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_output_is_made_again_if_it_has_another_length(photos, tmp_path):
    out = tmp_path / "out"
    images.process(photos / "a.png", out)
    whole = (out / "a.png").read_bytes()
    (out / "a.png").write_bytes(b"")
    assert images.process(photos / "a.png", out, on_conflict="overwrite").count("written") == 1
    assert (out / "a.png").read_bytes() == whole


def test_an_output_of_another_source_is_left_alone(tmp_path):
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        noise(seed=number).save(tmp_path / name / "a.bmp")
        os.utime(tmp_path / name / "a.bmp", (1e9, 1e9))
    assert images.process(tmp_path / "one", tmp_path / "out").count("written") == 1
    assert images.process(tmp_path / "two", tmp_path / "out").count("skipped") == 1


def test_output_folders_that_are_links_are_seen_through(tmp_path):
    for name in ("x", "y"):
        (tmp_path / "src" / name).mkdir(parents=True)
        noise().save(tmp_path / "src" / name / "a.png")
    (tmp_path / "out" / "y").mkdir(parents=True)
    (tmp_path / "out" / "x").symlink_to("y")
    with pytest.raises(mh.OptionError, match="would both become"):
        images.process(tmp_path / "src", tmp_path / "out", recursive=True)
    (tmp_path / "out" / "x").unlink()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "src" / "x")
    with pytest.raises(mh.OptionError, match="lies in the source folder"):
        images.process(tmp_path / "src", tmp_path / "out", recursive=True, format="jpg")


def test_a_name_that_is_too_long_is_that_pictures_failure_alone(photos, tmp_path):
    noise().save(photos / f"{'n' * 250}.png")
    summary = images.process(photos, tmp_path / "out", [images.Resize("8x8")], glob="*n.png")
    assert [one.kind for one in summary.failed] == ["unwritable"]
    assert images.process(photos / "a.png", tmp_path / "out").ok


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("{stem!x}.png", "is no template: Unknown conversion"),
        ("{stem:d}.png", "is no template: Unknown format code"),
        ("{stem:{foo}}.png", "is no template: 'foo'"),
        ("{frame}/{stem}.png", "belongs into the name of the file, not of a folder"),
        ("{rel/{stem}.png", "is no template: unexpected"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(photos, tmp_path, name, reason):
    with pytest.raises(mh.OptionError, match=reason):
        images.process(photos, tmp_path / "out", name=name, frames="all")


def test_a_manifest_replaces_no_picture_and_may_be_a_pipe(photos, tmp_path):
    def manyhands(*args):
        command = [sys.executable, "-m", "manyhands", *map(str, args)]
        return subprocess.run(command, env=programs.environment(), capture_output=True, text=True, check=False)

    before = (photos / "a.png").read_bytes()
    refused = manyhands("images", photos, "-o", tmp_path / "out", "--manifest", photos / "a.png")
    assert refused.returncode == 2
    assert "is called as a picture is" in refused.stderr
    assert (photos / "a.png").read_bytes() == before
    told = manyhands("images", photos / "a.png", "-o", tmp_path / "out", "--manifest", "/dev/stdout")
    assert json.loads(told.stdout)["status"] == "written"


def test_an_error_that_cannot_be_told_ends_nothing(photos, tmp_path):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    def broken(_array):
        raise Mute

    assert "Mute" in images.process(photos / "a.png", tmp_path / "out", [images.Apply(broken)]).failed[0].reason


def test_memory_for_decoded_pictures_is_shared_out(monkeypatch):
    from manyhands.apps.images.making import Budget

    budget = Budget(100)
    held = []

    def hold(cost):
        with budget.take(cost):
            held.append(cost)
            most = sum(held)
            time.sleep(0.001)
            held.remove(cost)
        return most

    assert max(mh.map(hold, [60, 40, 70, 30, 500] * 5, backend="threads", workers=8)) <= 500
    assert all(most <= 100 for most in mh.map(hold, [60, 40, 70, 30] * 5, backend="threads", workers=8))


def test_pictures_too_large_for_all_workers_at_once_take_turns():
    """Together they have no more than there is, those that are not larger than a worker's share left out."""
    from manyhands.apps.images.making import Turns

    turns, inside = Turns(100, workers=4), mh.empty_shared(1, dtype=int)

    def hold(cost):
        with turns.take(cost):
            with mh.lock("sum"):
                inside[0] += cost
                most = int(inside[0])
            time.sleep(0.002)
            with mh.lock("sum"):
                inside[0] -= cost
        return most

    assert max(mh.map(hold, [60, 40, 50, 90, 30] * 16, backend="processes", workers=4)) <= 100
    assert max(mh.map(hold, [500, 60] * 16, backend="processes", workers=4)) == 500


def test_large_pictures_need_no_shared_memory(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MANYHANDS_SHARED_MEMORY", "none")
    monkeypatch.setattr("manyhands.apps.images.processing.IN_FLIGHT", 1000)
    assert images.process(photos, tmp_path / "out", [images.Resize("10x10")], workers=2).ok


def test_a_picture_that_ends_its_worker_costs_nothing_but_itself(tmp_path):
    """Also if nobody has asked for that: begun in the program, handed over, and then it happens."""
    photos, home, elsewhere = tmp_path / "photos", os.getpid(), tmp_path / "elsewhere"
    photos.mkdir()
    for number in range(40):
        noise(seed=number).save(photos / f"{number:02}.png")
    Image.new("RGB", (31, 20)).save(photos / "39.png")

    def fatal(array):
        if os.getpid() == home:
            assert eventually(elsewhere.exists)
        else:
            elsewhere.touch()
            if array.shape[1] == 31:
                os.kill(os.getpid(), signal.SIGKILL)
        return array

    summary = images.process(photos, tmp_path / "out", [images.Apply(fatal)], backend="auto", workers=2)
    assert summary.count("written") == 39
    (lost,) = summary.failed
    assert lost.source.endswith("39.png")
    assert "WorkerDied" in lost.reason


def test_what_a_signal_s_handler_raises_ends_the_run(tmp_path):
    """An alarm that is to end it all, in the midst of a picture that the program makes itself."""
    (tmp_path / "photos").mkdir()
    noise(300, 200).save(tmp_path / "photos" / "a.png")

    def late(number, frame):
        raise TimeoutError("enough")

    def slow(array):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(10)
        return array

    before = signal.signal(signal.SIGALRM, late)
    try:
        with pytest.raises(TimeoutError, match="enough"):
            images.process(tmp_path / "photos", tmp_path / "out", [images.Apply(slow)], backend="auto")
    finally:
        signal.signal(signal.SIGALRM, before)


# --- is it worth it here? -----------------------------------------------------------------------------------


def test_the_ways_to_make_pictures_are_compared(folder_of_three):
    each = {name: [images.Filter(name)] for name in ("blur", "edges")}
    found = images.compare(folder_of_three, each, rounds=3, format="jpg")
    assert [row.name for row in found.rows] == ["sequential", "parallel over images", "parallel over filters"]
    assert all(len(row.steady) == 3 for row in found.rows)
    assert str(found).startswith("3 pictures, 6 outputs\n")
    assert "3 pictures, 6 outputs" in found.to_markdown()
    (folder_of_three / "broken.png").write_bytes(b"no picture")
    chinese = images.compare(folder_of_three, [images.Resize("20x20")], rounds=3, pictures=2, language="zh")
    assert [row.name for row in chinese.rows] == ["顺序处理", "按图片并行"]
    assert str(chinese).startswith("3 张中的 2 张图片，2 个输出；另有 1 张无法处理\n")


def test_a_comparison_leaves_a_page_and_no_pictures(folder_of_three, tmp_path):
    before = {path: path.read_bytes() for path in folder_of_three.iterdir()}
    out, each = tmp_path / "out", ["--rounds", "3", "--each-filter", "blur,edges"]
    ran = subprocess.run(
        [sys.executable, "-m", "manyhands", "images", folder_of_three, "-o", out, "--compare", *each],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("3 pictures, 6 outputs\n")
    assert "parallel over filters" in ran.stdout
    assert {path.name for path in out.iterdir()} - {"comparison.png"} == {"comparison.html"}
    assert {path: path.read_bytes() for path in folder_of_three.iterdir()} == before


@pytest.mark.parametrize(
    "options",
    [
        ("--compare", "--dry-run"),
        ("--compare", "--on-conflict", "overwrite"),
        ("--compare", "--progress", "json"),
        ("--rounds", "3"),
        ("--lang", "zh"),
    ],
    ids=" ".join,
)
def test_options_that_would_be_ignored_are_refused(folder_of_three, tmp_path, options):
    code, _, told = command("photos", "-o", "out", *options, cwd=tmp_path)
    assert code == 2
    assert "--compare" in told
    assert not (tmp_path / "out").exists()


def test_there_must_be_something_to_compare(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(mh.ManyhandsError):
        images.compare(tmp_path, [images.Resize("20x20")], rounds=3)
    (tmp_path / "folders").mkdir()
    with pytest.raises(mh.OptionError, match="workers is a whole number of at least 1; got 0"):
        images.compare(tmp_path, workers=0)
    with pytest.raises(mh.OptionError, match="no pictures were found; with recursive=True"):
        images.compare(tmp_path / "folders", [images.Resize("20x20")], rounds=3)


def test_an_output_that_is_not_the_same_each_time_is_named(folder_of_three):
    def other(array):
        return np.full_like(array, time.perf_counter_ns() % 251)

    several = {"same": [images.Filter("blur")], "other": [images.Apply(other)]}
    with pytest.raises(mh.ResultsDiffer, match=r"at \['000\d_other.png'\]"):
        images.compare(folder_of_three, several, rounds=3)


def test_every_way_that_is_timed_makes_all_pictures(tmp_path):
    """Whatever they are called: names that are as long as they may be are not made longer."""
    (tmp_path / "photos").mkdir()
    noise().save(tmp_path / "photos" / f"{'a' * 236}.png")

    def count(array):
        with (tmp_path / "calls").open("a") as file:
            file.write("x")
        return array

    images.compare(tmp_path / "photos", [images.Apply(count)], rounds=3)
    assert (tmp_path / "calls").read_text() == "x" * (1 + 2 * (1 + 3))  # looked at, then two ways

    def once(array):
        (tmp_path / "made").mkdir()
        return array

    with pytest.raises(mh.ManyhandsError, match=r"aaa.png could be made before the comparison, and now fails"):
        images.compare(tmp_path / "photos", [images.Apply(once)], rounds=3)


def test_a_comparison_writes_over_nothing_but_what_one_before_has_written(folder_of_three, tmp_path):
    few = "-o", "out", "--compare", "--rounds", "3", "--resize", "20x20"
    (tmp_path / "out").mkdir()
    page, chart = tmp_path / "out" / "comparison.html", tmp_path / "out" / "comparison.png"
    (tmp_path / "mine.png").write_bytes(b"mine")
    chart.symlink_to(tmp_path / "mine.png")
    code, _, told = command("photos", *few, cwd=tmp_path)
    assert (code, told.strip()) == (
        2, "manyhands: out/comparison.png is there, and no comparison has written it: name another folder",
    )  # fmt: skip
    chart.unlink()
    page.write_text("mine")
    assert command("photos", *few, cwd=tmp_path)[0] == 2
    assert page.read_text() == (tmp_path / "mine.png").read_text() == "mine"
    page.unlink()
    for _ in range(2):
        assert command("photos", *few, cwd=tmp_path)[0] == 0
    assert "<html" in page.read_text()


def test_what_a_killed_comparison_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(
    folder_of_three, tmp_path, monkeypatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    os.mkfifo(tmp_path / "begun")
    (tmp_path / "waits.py").write_text(
        f"import time\ndef wait(array):\n    open({str(tmp_path / 'begun')!r}, 'w')\n    time.sleep(60)\n"
    )
    waiting = subprocess.Popen(
        [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", "--compare", "--apply", "waits.py:wait"],
        cwd=tmp_path,
    )
    (tmp_path / "begun").read_text()
    (left,) = temporary.glob("manyhands-comparison-*")
    few = "--compare", "--rounds", "3", "--resize", "20x20"
    assert command("photos", "-o", "out", *few, cwd=tmp_path)[0] == 0
    assert left.exists()
    waiting.kill()
    waiting.wait()
    assert command("photos", "-o", "out", *few, cwd=tmp_path)[0] == 0
    assert list(temporary.glob("manyhands-comparison-*")) == []


def test_the_pictures_of_a_run_are_removed_when_they_have_been_compared(folder_of_three, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def count(array):
        with (tmp_path / "runs").open("a") as file:
            file.write(str(len(list((tmp_path / "temporary").glob("*/run-*")))))
        return array

    images.compare(folder_of_three, [images.Apply(count)], rounds=5)
    assert set((tmp_path / "runs").read_text()) == set("012")  # those of the first round are compared at its end


@pytest.fixture
def folder_of_three(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.effect_noise((64, 48), 40 + number).convert("RGB").save(folder / f"{number}.png")
    return folder


# --- many -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs root, and setpriv")
def test_what_may_not_be_read_is_named_and_the_rest_goes_on(tmp_path):
    """As root everything may be read; so without root's privileges."""
    photos = tmp_path / "photos"
    (photos / "closed").mkdir(parents=True)
    noise().save(photos / "good.png")
    noise().save(photos / "secret.png")
    noise().save(photos / "closed" / "inside.png")
    (photos / "secret.png").chmod(0)
    (photos / "closed").chmod(0)
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    images_command = [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", "-r"]
    ran = subprocess.run(
        [*plain, *images_command], cwd=tmp_path, env=programs.environment(), capture_output=True, text=True, check=False
    )
    (photos / "closed").chmod(0o700)
    assert ran.returncode == 1
    assert "secret.png: " in ran.stderr
    assert "closed: " in ran.stderr
    assert ran.stderr.count("ermission denied") == 2
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]


def thousand_and_bad(folder):
    folder.mkdir()
    for number in range(1000):
        noise(480, 320, seed=number).save(folder / f"{number:04}.png", compress_level=1)
    for name, (make, _) in BAD.items():
        make(folder / name)


@pytest.mark.stress
def test_a_thousand_good_files_and_one_of_each_bad_kind_through_ten_kills(tmp_path):
    thousand_and_bad(tmp_path / "photos")
    how = ["--resize", "150x100", "--format", "jpg"]
    args = [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", *how]
    source = random.Random(7)
    for _ in range(10):
        run = subprocess.Popen(
            args, cwd=tmp_path, env=programs.environment(), stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(0.4 + 0.5 * source.random())  # a random moment is the point
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    code, _, told = command("photos", "-o", "out", *how, cwd=tmp_path)
    assert code == 1
    for name in BAD:
        assert f"{name}: " in told
    assert f"{len(BAD)} failed" in told
    code, _, _ = command("photos", "-o", "undisturbed", *how, cwd=tmp_path)
    assert code == 1
    assert tree(tmp_path / "out") == tree(tmp_path / "undisturbed")
    assert len(list((tmp_path / "out").iterdir())) == 1001


@pytest.mark.stress
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_photos_of_50_megapixels_do_not_fill_the_memory(suffix, tmp_path):
    """JPEGs are decoded in part where they are shrunk; PNGs are not."""
    photos = tmp_path / "photos"
    photos.mkdir()
    first = photos / f"000.{suffix}"
    Image.effect_noise((866, 577), 60).convert("RGB").resize((8660, 5773)).save(first, compress_level=1)
    for number in range(1, 200):
        os.link(first, photos / f"{number:03}.{suffix}")
    args = [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", "-j", "2", "--filter", "blur"]
    if suffix == "png":
        args += ["--format", "jpg", "--resize", "200x200"]
    else:
        args += ["--resize", "4330x2887"]  # a filter on half of the size
    with subprocess.Popen(args, cwd=tmp_path, env=programs.environment(), stderr=subprocess.PIPE, text=True) as run:
        watched, most = psutil.Process(run.pid), 0
        while run.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, sum(p.memory_info().rss for p in [watched, *watched.children(recursive=True)]))
            time.sleep(0.05)
        assert run.returncode == 0, run.stderr.read()
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 200
    print(f"{suffix}: {most / 1e9:.2f} GB")
    assert most < 2e9


# --- what others have made, and what was begun ------------------------------------------------------------------


def test_a_source_of_which_only_some_outputs_could_be_made_is_tried_again(photos, tmp_path):
    """They are known as ours: otherwise the next run would leave them, and all of the source, alone."""
    how = ["--resize", "10x10", "--resize", "17000x20", "--format", "webp"]
    for _ in range(2):
        code, _, told = command("photos", "-o", "out", *how, cwd=tmp_path)
        assert code == 1
        assert "2 failed" in told
        assert "skipped" not in told


def test_frames_replace_nobody_s_files(tmp_path):
    frames = [noise(seed=seed) for seed in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_001.png").write_text("precious")
    assert only(images.process(tmp_path / "a.gif", out, frames="all", format="png")).status == "skipped"
    with pytest.raises(mh.OptionError, match="Move it away"):
        images.process(tmp_path / "a.gif", out, frames="all", format="png", on_conflict="error")
    assert (out / "a_001.png").read_text() == "precious"
    assert only(images.process(tmp_path / "a.gif", out, frames="all", format="png", on_conflict="overwrite")).outputs
    assert only(images.process(tmp_path / "a.gif", out, frames="all", format="png")).status == "up to date"


def test_the_number_of_a_frame_may_stand_in_a_name_twice(tmp_path):
    KINDS["animation"](tmp_path / "a")
    out = tmp_path / "out"
    out.mkdir()
    (out / "001_a_001.png").write_text("precious")
    how = {"frames": "all", "format": "png", "name": "{frame}_{stem}_{frame}.png"}
    with pytest.raises(mh.OptionError, match="Move it away"):
        images.process(tmp_path / "a.gif", out, on_conflict="error", **how)
    images.process(tmp_path / "a.gif", out, on_conflict="rename", **how)
    assert names_in(out) == ["000_a_000_1.png", "001_a_001.png", *(f"00{n}_a_00{n}_1.png" for n in range(1, 4))]


def test_broken_files_are_never_taken_for_whole_while_others_are_salvaged(tmp_path):
    """Pillow has one switch for that, for all threads."""
    for number in range(40):
        noise(120, 80, seed=number).save(tmp_path / f"{number}.png")
        data = (tmp_path / f"{number}.png").read_bytes()
        (tmp_path / f"{number}.png").write_bytes(data[: 2 * len(data) // 3])
    sources = sorted(tmp_path.glob("*.png"))
    runs = {}

    def run(how):
        runs[how] = images.process(sources, tmp_path / how, on_truncated=how, workers=4)

    threads = [threading.Thread(target=run, args=(how,)) for how in ("salvage", "fail")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert runs["fail"].count("failed") == 40
    assert all(any("damaged" in note for note in one.notes) for one in runs["salvage"].done)


@pytest.mark.parametrize("name", images.FILTERS)
def test_filters_leave_transparency_alone(name):
    picture = noise(mode="RGBA")
    made = images.Filter(name)(picture, None)
    assert made.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


@pytest.mark.parametrize("options", [{}, {"frames": "all"}])
def test_the_name_that_is_advised_where_sources_collide_is_one_that_helps(tmp_path, options):
    (tmp_path / "in").mkdir()
    noise().save(tmp_path / "in" / "same.png")
    noise().save(tmp_path / "in" / "same.jpg")
    sizes = {size: [images.Resize(size)] for size in ("10x", "20x")}
    with pytest.raises(mh.OptionError, match="would both become") as refused:
        images.process(tmp_path / "in", tmp_path / "out", sizes, format="jpg", **options)
    advised = re.search("a name as '(.*?)'", str(refused.value))[1]
    summary = images.process(tmp_path / "in", tmp_path / "out", sizes, format="jpg", name=advised, **options)
    assert summary.count("written") == 2


def test_no_other_name_is_advised_where_only_outputs_of_one_source_collide(photos, tmp_path):
    sizes = {size: [images.Resize(size)] for size in ("10x", "20x")}
    with pytest.raises(mh.OptionError, match=r"collide:\ntwo outputs of .* \{variant\} tells them apart"):
        images.process(photos, tmp_path / "out", sizes, name="{stem}_{filter}.{ext}")


def test_pictures_of_one_name_are_told_apart_by_their_suffix(tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in ("png", "jpg"):
        noise().save(tmp_path / "in" / f"a.{suffix}")
    with pytest.raises(mh.OptionError, match=r"\{suffix\}"):
        images.process(tmp_path / "in", tmp_path / "out", format="jpg")
    assert images.process(tmp_path / "in", tmp_path / "out", format="jpg", name="{stem}-{suffix}.{ext}").ok
    assert {path.name for path in (tmp_path / "out").glob("*.jpg")} == {"a-png.jpg", "a-jpg.jpg"}


@pytest.mark.parametrize("operations", [images.Resize("20x20"), [(20, 20)]])
def test_what_is_no_list_of_operations_is_refused(photos, tmp_path, operations):
    with pytest.raises(mh.OptionError):
        images.process(photos, tmp_path / "out", operations)
    with pytest.raises(mh.OptionError, match="WIDTHxHEIGHT"):
        images.Resize((100, 100))


def test_a_name_with_a_brace_in_it_is_a_name_like_any_other(tmp_path):
    noise(8, 6).save(tmp_path / "x{frame}.png")
    out = tmp_path / "out"
    out.mkdir()
    (out / "x{frame}.png").write_text("precious")
    assert only(images.process(tmp_path / "x{frame}.png", out)).status == "skipped"
    assert (out / "x{frame}.png").read_text() == "precious"


def test_the_frame_in_a_name_is_a_number_also_where_one_is_taken(photos, tmp_path):
    one = only(images.process(photos / "a.png", tmp_path / "out", name="{stem}_{frame}.png"))
    assert [Path(path).name for path in one.outputs] == ["a_000.png"]


def test_newer_leaves_a_link_to_nowhere_alone(photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").symlink_to("nowhere")
    assert only(images.process(photos / "a.png", out, on_conflict="newer")).status == "skipped"


def test_a_folder_in_a_name_may_be_called_by_a_brace(photos, tmp_path):
    one = only(images.process(photos / "a.png", tmp_path / "out", name="{{frame}}/{stem}.png"))
    assert (tmp_path / "out" / "{frame}" / "a.png").is_file()
    assert one.status == "written"


def test_what_is_kept_may_be_a_single_word(photos, tmp_path):
    assert images.process(photos / "a.png", tmp_path / "out", keep="exif").ok


# --- what an audit found ------------------------------------------------------------------------------------------


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_further_output_is_all_that_is_made_in_whatever_order(photos, tmp_path):
    def run(*names):
        steps = {name: [images.Filter(name)] for name in names}
        return only(images.process(photos / "a.png", tmp_path / "out", steps))

    run("blur", "edges")
    more = run("emboss", "edges", "blur")
    assert (more.status, [Path(path).name for path in more.outputs]) == ("written", ["a_emboss.png"])
    assert run("edges", "blur").status == "up to date"
    assert run("blur", "edges", "emboss").status == "up to date"


def test_an_output_that_was_edited_to_the_same_length_is_left_alone(photos, tmp_path):
    out = tmp_path / "out"
    images.process(photos / "a.png", out, format="bmp")
    edited = bytearray((out / "a.bmp").read_bytes())
    edited[-1] ^= 0xFF
    (out / "a.bmp").write_bytes(edited)
    os.utime(photos / "a.png", (1, 1))
    assert only(images.process(photos / "a.png", out, format="bmp")).status == "skipped"
    assert (out / "a.bmp").read_bytes() == edited


def test_frames_that_there_are_no_more_go(tmp_path):
    def run(count):
        first, *rest = (noise(8, 8, seed=seed) for seed in range(count))
        first.save(tmp_path / "a.gif", save_all=True, append_images=rest)
        os.utime(tmp_path / "a.gif", (count, count))
        assert images.process(tmp_path / "a.gif", tmp_path / "out", frames="all", format="png").ok

    run(5)
    run(2)
    assert names_in(tmp_path / "out") == ["a_000.png", "a_001.png"]


def test_outputs_among_their_sources_are_no_sources(photos):
    def run():
        return images.process(photos, photos, [images.Resize("4x4")], name="{stem}_small.{ext}", out_inside=True)

    assert run().count("written") == 2
    assert [one.status for one in run().done] == ["up to date"] * 2


def test_a_program_that_is_called_a_picture_is_not_run(photos):
    (photos / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n")
    summary = images.process(photos / "b.png", photos.parent / "out")
    assert only(summary).kind == "not a picture"


def test_each_frame_is_turned_and_has_its_profile(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    first, *rest = (noise(40, 20, seed=seed) for seed in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, exif=exif, icc_profile=profile, lossless=True)
    images.process(tmp_path / "a.webp", tmp_path / "out", frames="all", format="png", keep=["exif", "icc"])
    for path in sorted((tmp_path / "out").glob("*.png")):
        with Image.open(path) as made:
            assert (made.size, made.getexif()[0x0112], "icc_profile" in made.info) == ((20, 40), 1, True)


def odd_profile():
    """Under it red looks green."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"    ").replace(b"gXYZ", b"rXYZ").replace(b"    ", b"gXYZ", 1)
    return data.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))


@pytest.mark.parametrize("suffix", ["bmp", "jp2", "gif", "ppm"])
def test_a_profile_that_cannot_go_along_is_applied(tmp_path, suffix):
    image = noise(20, 20)
    image.save(tmp_path / "a.png", icc_profile=odd_profile())
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", format=suffix, keep=["icc"]))
    assert "converted to sRGB" in one.notes


def test_a_profile_that_does_not_fit_any_more_is_left_out_and_told(tmp_path):
    noise(20, 20).save(tmp_path / "a.png", icc_profile=odd_profile())
    grey = images.Apply(lambda array: array[:, :, 0].copy())
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", [grey], keep=["icc"]))
    assert "its colour profile was not kept, since it is one of other pixels" in one.notes
    with Image.open(one.outputs[0]) as made:
        assert "icc_profile" not in made.info


def test_what_was_not_kept_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    noise(20, 20).save(tmp_path / "a.png", exif=exif)
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", format="bmp", keep=["exif"]))
    assert "its EXIF was not kept, since bmp holds none" in one.notes


def test_numbers_of_32_bits_have_no_known_range(tmp_path):
    Image.fromarray(np.full((8, 8), 200, np.int32)).save(tmp_path / "a.tif")
    assert only(images.process(tmp_path / "a.tif", tmp_path / "out", format="png")).kind == "unsupported"


def test_colours_of_16_bits_are_told(tmp_path):
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), 40_000, np.uint16))
    one = only(images.process(tmp_path / "a.png", tmp_path / "out"))
    assert one.notes == ["16 bit became 8 bit"]


def test_colours_that_nobody_sees_have_no_part_in_a_blur(tmp_path):
    disc = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    disc.paste((255, 0, 0, 255), (10, 10, 30, 30))
    disc.save(tmp_path / "a.png")
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", [images.Filter("blur", 5)]))
    with Image.open(one.outputs[0]) as made:
        assert made.getpixel((10, 10))[0] >= 250


def test_around_a_grey_picture_there_is_the_colour_that_was_asked_for(tmp_path):
    Image.new("L", (40, 20), 128).save(tmp_path / "a.png")
    steps = [images.Resize("40x40", "pad")]
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", steps, background="red"))
    with Image.open(one.outputs[0]) as made:
        assert made.getpixel((0, 0)) == (255, 0, 0)


def test_a_jpeg_becomes_as_large_as_the_same_picture_as_png(tmp_path):
    size = (3416, 4787)
    sources = [tmp_path / "jpg.jpg", tmp_path / "png.png"]
    for path in sources:
        Image.new("L", size).save(path)
    summary = images.process(sources, tmp_path / "out", [images.Resize("256x256", "contain")], format="png")
    sizes = set()
    for path in [output for one in summary.done for output in one.outputs]:
        with Image.open(path) as made:
            sizes.add(made.size)
    assert sizes == {(183, 256)}


def test_the_first_argument_alone_says_what_a_function_takes(photos, tmp_path):
    taken = []

    def array(given, overlay: Image.Image | None = None):
        taken.append(type(given))
        return given

    def image(given: Image.Image | None):
        taken.append(type(given))
        return given

    images.process(photos / "a.png", tmp_path / "out", [images.Apply(array), images.Apply(image)], backend="serial")
    assert taken == [np.ndarray, Image.Image]


def test_a_manifest_replaces_nothing_but_a_manifest(photos, tmp_path):
    (tmp_path / "own.py").write_text("precious")
    code, _, told = command("photos", "-o", "out", "--manifest", "own.py", cwd=tmp_path)
    assert code == 2
    assert "is no manifest" in told
    assert (tmp_path / "own.py").read_text() == "precious"
    for _ in range(2):
        assert command("photos", "-o", "out", "--manifest", "m.jsonl", cwd=tmp_path)[0] == 0
    assert command("photos", "-o", "out", "--manifest", "n.jsonl", "--dry-run", cwd=tmp_path)[0] == 2


def test_a_name_that_no_terminal_shows_is_escaped(tmp_path):
    (tmp_path / "photos").mkdir()
    noise().save(tmp_path / "photos" / "a\nb.png")
    os.rename(tmp_path / "photos" / "a\nb.png", os.fsencode(tmp_path / "photos") + b"/a\n\xff.png")
    code, planned, told = command("photos", "-o", "out", "--dry-run", cwd=tmp_path)
    assert (code, planned.count("\n")) == (0, 1), told
    assert r"a\n\udcff.png" in planned


def test_what_a_function_calls_or_looks_up_in_its_file_counts(photos, tmp_path):
    own = "LEVEL = 10\n\ndef helper(array):\n    return array // 2\n\ndef f(array):\n    return helper(array) + LEVEL\n"

    def run(source):
        (tmp_path / "own.py").write_text(source)
        code, _, told = command("photos/a.png", "-o", "out", "--apply", "own.py:f", cwd=tmp_path)
        assert code == 0, told
        return "1 up to date" in told

    assert [run(own), run(own)] == [False, True]
    assert not run(own.replace("LEVEL = 10", "LEVEL = 20"))
    assert not run(own.replace("// 2", "// 3"))


def test_of_several_outputs_one_that_fails_costs_no_edit_of_another(photos, tmp_path):
    def bad(array):
        raise ValueError

    steps = {"good": [images.Resize("8x8")], "bad": [images.Apply(bad)]}
    assert only(images.process(photos / "a.png", tmp_path / "out", steps, format="bmp")).status == "failed"
    edited = tmp_path / "out" / "a_good.bmp"
    edited.write_bytes(edited.read_bytes() + b"mine")
    steps["bad"] = [images.Resize("9x9")]
    one = only(images.process(photos / "a.png", tmp_path / "out", steps, format="bmp"))
    assert edited.read_bytes().endswith(b"mine")
    assert [Path(path).name for path in one.outputs] == ["a_bad.bmp"]


def test_an_edited_output_holds_up_no_other(photos, tmp_path):
    out = tmp_path / "out"
    images.process(photos / "a.png", out, {"x": [images.Resize("8x8")], "y": [images.Resize("9x9")]})
    (out / "a_x.png").write_text("mine")
    os.utime(photos / "a.png", (1, 1))
    one = only(images.process(photos / "a.png", out, {"x": [images.Resize("8x8")], "y": [images.Resize("9x9")]}))
    assert ([Path(path).name for path in one.outputs], (out / "a_x.png").read_text()) == (["a_y.png"], "mine")
    assert "left alone" in one.notes[-1]


def test_an_output_that_is_made_later_is_the_same(tmp_path):
    """A JPEG is decoded for all of them, also if only a small one is lacking."""
    noise(1600, 1200).save(tmp_path / "a.jpg")
    both = {"small": [images.Resize("100x")], "large": [images.Resize("1500x")]}
    images.process(tmp_path / "a.jpg", tmp_path / "out", both)
    before = (tmp_path / "out" / "a_small.jpg").read_bytes()
    (tmp_path / "out" / "a_small.jpg").unlink()
    images.process(tmp_path / "a.jpg", tmp_path / "out", both)
    assert (tmp_path / "out" / "a_small.jpg").read_bytes() == before


def test_the_plainest_format_is_read(tmp_path):
    (tmp_path / "a.pbm").write_text("P1\n2 2\n0 1 1 0\n")
    assert only(images.process(tmp_path / "a.pbm", tmp_path / "out", format="png")).status == "written"


def test_an_untouched_tiff_keeps_only_what_is_asked_for(tmp_path):
    noise().save(tmp_path / "a.tif", tiffinfo={700: b"<x:xmpmeta>secret</x:xmpmeta>"})
    one = only(images.process(tmp_path / "a.tif", tmp_path / "out"))
    assert b"secret" not in Path(one.outputs[0]).read_bytes()


# --- what functions of the user's depend on -----------------------------------------------------------------------

OWN = """
import collections
import functools
import random
import re
import types
import numpy as np
from PIL import ImageFilter
import helper

TABLE = {"level": [1]}
NAMES = {"x", "y"}
ADDED, TAKEN = [1], [-1]
IN_TURN = [ADDED, TAKEN, ADDED]
MASK = np.zeros(3, np.uint8)
HELD = {
    "blur": [ImageFilter.GaussianBlur(1)],
    "kernel": ImageFilter.Kernel((3, 3), [0] * 8 + [1]),
    "vectorized": np.vectorize(lambda value: value + 10),
    "space": types.SimpleNamespace(func=lambda value: value + 11),
    "queue": collections.deque([lambda value: value + 12]),
    "proxy": types.MappingProxyType({"func": lambda value: value + 13}),
    "random": [np.random.default_rng(), random.Random(), iter([0, 1])],
    "pattern": re.compile("x" * 300 + "15"),
    "masked": np.ma.masked_array([1, 2], [1, 16]),
}

def with_attribute(array):
    return array + with_attribute.level

with_attribute.level = 17

def taking(array, *, one=1, two=18):
    return array + one

class Meta(type):
    def level(cls):
        return 19

class Made(metaclass=Meta):
    def _set(self, value):
        self.value = value + 20
    value = property(None, _set)

def held(array):
    return HELD, with_attribute(array), taking(array), Made

class Settings:
    level = 1

class Step:
    def __init__(self, level):
        self.level = level
    def __call__(self, array):
        return array // self.level
    def method(self, array):
        return array // self.level

@functools.lru_cache
def cached(level):
    return level + 1

half = functools.partial(np.multiply, 1)
a = lambda array: array + 1
b = lambda array: a(array)
c = lambda array: b(array)
d = lambda array: c(array)
e = lambda array: d(array)
f = lambda array: e(array)

def table(array):
    return array + TABLE["level"][0]

def names(array):
    return array if "x" in NAMES else array + 1

def in_turn(array):
    return functools.reduce(lambda made, by: made + by[0], IN_TURN, array)

def mask(array):
    return array + MASK[0]

def of_class(array):
    return array * Settings.level

def of_cached(array):
    return array * np.uint8(cached(1))

def of_partial(array):
    return half(array)

def imported(array):
    return array * helper.inner.FACTOR

step = Step(1)
method = step.method
"""


CHANGES = {  # of each function
    "table": ('"level": [1]', '"level": [2]'),
    "names": ('"x", "y"', '"z", "y"'),
    "in_turn": ("TAKEN, ADDED]", "TAKEN, TAKEN]"),
    "mask": ("np.zeros", "np.ones"),
    "of_class": ("level = 1", "level = 2"),
    "of_cached": ("level + 1", "level + 2"),
    "of_partial": ("np.multiply, 1", "np.multiply, 2"),
    "f": ("array + 1\nb =", "array + 2\nb ="),
    "step": ("Step(1)", "Step(2)"),
    "method": ("Step(1)", "Step(2)"),
    "imported": ("FACTOR = 1", "FACTOR = 2"),
}


def test_whatever_a_function_looks_up_makes_its_outputs_stale(tmp_path):
    """In programs of their own: what has not changed must be the same from run to run."""

    def keys(changes):
        texts = {"own": OWN, "inner": "FACTOR = 1\n", "helper": "import inner\n"}
        for before, after in changes:
            texts = {name: text.replace(before, after) for name, text in texts.items()}
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)
        source = f"import own; from manyhands.apps.images import Apply\nfor f in {list(CHANGES)}: "
        env = programs.environment()
        env |= {"PYTHONPATH": f"{tmp_path}:{env['PYTHONPATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(
            [sys.executable, "-c", f"{source}print(Apply(getattr(own, f)).key)"],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return dict(zip(CHANGES, ran.stdout.splitlines(), strict=True))

    first = keys([])
    assert keys([]) == first
    changed = keys(CHANGES.values())
    assert [name for name in CHANGES if changed[name] == first[name]] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("GaussianBlur(1)", "GaussianBlur(9)"),
        ("* 8 + [1]", "* 8 + [2]"),
        *((f"value + {number}", "value + 99") for number in (10, 11, 12, 13, 20)),
        ("15", "99"),
        ("16", "0"),
        ("level = 17", "level = 99"),
        ("one=1, two=18", "two=1, one=18"),
        ("return 19", "return 99"),
    ],
)
def test_what_an_object_holds_makes_outputs_stale_also_if_it_does_not_tell(before, after, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "helper", sys)
    own = types.ModuleType("own")
    own.__file__ = str(tmp_path / "own.py")
    monkeypatch.setitem(sys.modules, "own", own)

    def key(source):
        names = {"__name__": "own"}
        exec(compile(source, tmp_path / "own.py", "exec"), names)
        return images.Apply(names["held"]).key

    assert before in OWN
    assert key(OWN) == key(OWN)  # though the source of its random numbers is another
    assert key(OWN.replace(before, after)) != key(OWN)


def test_a_file_beside_the_installed_ones_is_the_users_own(tmp_path, monkeypatch):
    """As in manyhands_of_mine, beside manyhands."""
    monkeypatch.setattr(digests, "_INSTALLED", (tmp_path / "python",))

    def key(folder, by):
        names = {}
        exec(compile(f"def f(array): return array // {by}", tmp_path / folder / "a.py", "exec"), names)
        return images.Apply(names["f"]).key

    assert key("python_of_mine", 2) != key("python_of_mine", 3)
    assert key("python", 2) == key("python", 3)


def test_all_is_made_again_if_asked_for(photos, tmp_path):
    (tmp_path / "level").write_text("1")

    def from_file(array):
        return array // int((tmp_path / "level").read_text())

    def run(**options):
        return set(run_again(photos, tmp_path / "out", images.Apply(from_file), **options).values())

    assert [run(), run()] == [{"written"}, {"up to date"}]
    (tmp_path / "level").write_text("2")
    assert run(again=True) == {"written"}
    with Image.open(photos / "a.png") as source, Image.open(tmp_path / "out" / "a.png") as made:
        assert np.array_equal(np.asarray(made), np.asarray(source) // 2)
    (tmp_path / "out" / "a.png").write_text("mine")
    assert run_again(photos, tmp_path / "out", images.Apply(from_file), again=True)["a.png"] == "skipped"


# --- functions of the user's, and what they give back ---------------------------------------------------------------


def test_a_function_that_changes_its_picture_changes_no_other_output(photos, tmp_path):
    def blacken(image: Image.Image):
        image.paste((0, 0, 0), (0, 0, *image.size))
        return image

    images.process(photos / "a.png", tmp_path / "out", {"black": [images.Apply(blacken)], "same": []})
    with Image.open(photos / "a.png") as source, Image.open(tmp_path / "out" / "a_same.png") as made:
        assert np.array_equal(np.asarray(made), np.asarray(source))


@dataclasses.dataclass
class Unhashable:
    level: int

    def __call__(self, array):
        return array // self.level


def test_a_callable_without_a_hash_is_applied(photos, tmp_path):
    summary = images.process(photos / "a.png", tmp_path / "out", {"x": [images.Apply(Unhashable(2))], "y": []})
    assert len(only(summary).outputs) == 2, only(summary)


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (lambda a: Image.fromarray(a[:, :, 0].astype(np.int32)), "an Image of mode I"),
        (lambda a: a[0, :, 0], "an array of uint8 of the shape (64,)"),
        (lambda a: np.zeros((4, 4, 5), np.uint8), "of the shape (4, 4, 5)"),
        (lambda a: np.zeros((0, 4, 3), np.uint8), "of the shape (0, 4, 3)"),
    ],
)
def test_what_is_no_picture_is_not_written(photos, tmp_path, result, told):
    one = only(images.process(photos / "a.png", tmp_path / "out", [images.Apply(result)], backend="serial"))
    assert (one.kind, told in one.reason) == ("operation", True), one.reason
    assert not (tmp_path / "out" / "a.png").exists()


def test_an_array_of_one_channel_is_grey(photos, tmp_path):
    one = only(images.process(photos / "a.png", tmp_path / "out", [images.Apply(lambda a: a[:, :, :1])]))
    with Image.open(one.outputs[0]) as made:
        assert (made.mode, made.size) == ("L", (64, 48))


def test_a_function_that_leaves_fails_its_picture_and_ends_nothing(photos, tmp_path):
    one = only(
        images.process(photos / "a.png", tmp_path / "out", [images.Apply(lambda _: sys.exit(3))], backend="auto")
    )
    assert (one.kind, "SystemExit" in one.reason) == ("operation", True)


def test_a_function_may_go_to_another_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def going(array):
        os.chdir("/")
        return array

    summary = images.process("photos", "out", [images.Apply(going)], backend="serial")
    assert (summary.count("written"), summary.failed) == (2, [])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: images.process(".", "out", max_pixels="120M"),
        lambda: images.process(".", "out", workers=0),
        lambda: images.process(".", "out", {"s": images.Resize("5x")}),
        lambda: images.Apply(None),
        lambda: images.Resize("9" * 5000 + "x"),
        lambda: images.parse_filter(f"blur({'-' * 5000}1)"),
        lambda: images.parse_filter(f"blur({'9' * 5000})"),
    ],
)
def test_what_is_wrong_is_told_as_that(wrong):
    with pytest.raises(mh.OptionError):
        wrong()


# --- whose an output is, also with others at work -------------------------------------------------------------------


def test_a_list_of_outputs_that_cannot_be_read_is_told_and_stays(photos, tmp_path):
    out = tmp_path / "out"
    images.process(photos, out)
    (out / STATE).rename(out / "kept")
    (out / STATE).mkdir()
    with pytest.raises(OSError, match="cannot be read"):
        images.process(photos, out)
    (out / STATE).rmdir()
    os.mkfifo(out / STATE)
    with pytest.raises(OSError, match="it is no file"):
        images.process(photos, out)
    (out / STATE).unlink()
    (out / "kept").rename(out / STATE)
    assert images.process(photos, out).count("up to date") == 2


LINE = '{"how": "", "key": "x", "mtime_ns": 1, "outputs": {%s}, "size": 1, "source": "s", "whole": true}'


@pytest.mark.parametrize(
    "line",
    [
        LINE % '"x.png": [[Infinity, 1]]',
        LINE % '"p\\u0000.jpg": [[1, 1]]',
        "[" * 100_000,
    ],
    ids=["infinity", "no name", "deep"],
)
def test_a_line_that_no_run_has_written_is_passed_over(photos, tmp_path, line):
    out = tmp_path / "out"
    images.process(photos, out)
    with (out / STATE).open("a") as file:
        file.write(line + "\n")
    assert images.process(photos, out).count("up to date") == 2


def test_an_output_that_another_source_has_replaced_is_made_again(tmp_path):
    """Both are of the same length: only the list tells whose it is."""
    for name in ("a", "a_1"):
        (tmp_path / name).mkdir()
        noise(seed=len(name)).save(tmp_path / name / f"{name}.bmp")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.bmp").write_text("mine")
    first = only(images.process(tmp_path / "a", out, on_conflict="rename"))
    assert [Path(path).name for path in first.outputs] == ["a_1.bmp"]
    assert only(images.process(tmp_path / "a_1", out, on_conflict="overwrite")).status == "written"
    assert only(images.process(tmp_path / "a", out, on_conflict="rename")).status == "written"
    made = {path.read_bytes() for path in out.glob("*.bmp")}
    assert {path.read_bytes() for path in tmp_path.glob("a*/*.bmp")} | {b"mine"} == made


@pytest.mark.parametrize("on_conflict", ["skip", "newer", "rename", "error"])
def test_what_comes_while_a_run_goes_on_is_left_alone(photos, tmp_path, on_conflict):
    out = tmp_path / "out"

    def meanwhile(array):
        (out / "a.png").write_text("mine")
        return array

    def run(source, *steps):
        return only(images.process(source, out, steps, on_conflict=on_conflict, backend="serial"))

    one = run(photos / "a.png", images.Apply(meanwhile))
    assert (one.status, "is not of this source" in one.reason) == ("skipped", True)
    assert (out / "a.png").read_text() == "mine"

    def edited(array):
        (out / "b.jpg").write_text("mine")
        return array

    assert run(photos / "b.jpg").status == "written"
    assert run(photos / "b.jpg", images.Apply(edited)).status == "skipped"
    assert (out / "b.jpg").read_text() == "mine"
    assert not list(out.glob("*.part"))


def test_two_runs_at_once_into_one_folder_lose_nothing(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(8):
            noise(seed=number + len(name)).save(tmp_path / name / f"{number}.png")
    both = threading.Barrier(2)
    runs = {}

    def run(name):
        def together(array):
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(5)
            return array

        steps = [images.Resize("9x9"), images.Apply(together)]
        runs[name] = images.process(tmp_path / name, tmp_path / "out", steps, backend="serial")

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(one.count("written") for one in runs.values()) == 8
    assert sum(one.count("skipped") for one in runs.values()) == 8


def test_a_link_to_nowhere_in_the_place_of_an_output_is_left_alone(photos, tmp_path):
    out = tmp_path / "out"
    images.process(photos / "a.png", out)
    (out / "a.png").unlink()
    (out / "a.png").symlink_to("moved.png")
    assert only(images.process(photos / "a.png", out)).status == "skipped"
    assert (out / "a.png").is_symlink()


def test_what_a_link_is_left_for_is_where_it_leads(tmp_path):
    real = tmp_path / "elsewhere" / "within"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    noise(8, 8, seed=1).save(tmp_path / "a.png")
    noise(9, 9, seed=2).save(tmp_path / "elsewhere" / "a.png")
    source = tmp_path / "link" / ".." / "a.png"
    one = only(images.process([tmp_path / "elsewhere" / "a.png", source], tmp_path / "link" / ".." / "made"))
    assert (one.width, one.status) == (9, "written")
    assert (tmp_path / "elsewhere" / "made" / "a.png").is_file()
    assert not (tmp_path / "made").exists()


def test_a_new_photo_under_the_name_of_a_removed_output_is_looked_at(tmp_path):
    def run():
        return images.process(tmp_path, tmp_path, [images.Resize("4x4")], format="png", out_inside=True)

    noise(seed=1).save(tmp_path / "a.jpg")
    assert run().count("written") == 1
    (tmp_path / "a.jpg").unlink()
    noise(seed=2).save(tmp_path / "a.png")
    with pytest.raises(mh.OptionError, match="never written to"):
        run()


@pytest.mark.parametrize("name", ["{stem}_{frame:.3}.{ext}", "{stem}_{frame!r}.{ext}"])
def test_the_number_of_a_frame_has_no_format(tmp_path, name):
    KINDS["animation"](tmp_path / "a.gif")
    with pytest.raises(mh.OptionError, match="three digits"):
        images.process(tmp_path / "a.gif", tmp_path / "out", format="png", frames="all", name=name)


def test_what_a_killed_worker_left_behind_a_link_goes(tmp_path):
    (tmp_path / "src" / "x").mkdir(parents=True)
    noise().save(tmp_path / "src" / "x" / "a.png")
    for folder in ("out", "far"):
        (tmp_path / folder).mkdir()
    (tmp_path / "out" / "x").symlink_to(tmp_path / "far")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "far" / f".manyhands-{ended.pid}-1-abc.part").write_text("half")
    assert images.process(tmp_path / "src", tmp_path / "out", recursive=True).ok
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["a.png"]


def test_folders_may_lie_a_thousand_deep_and_hidden_ones_are_left_out(tmp_path):
    (tmp_path / "src" / ".thumbs").mkdir(parents=True)
    noise().save(tmp_path / "src" / ".thumbs" / "t.png")
    here = os.open(tmp_path / "src", os.O_RDONLY)
    for _ in range(1010):  # Python itself goes a thousand deep
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    with Image.new("RGB", (4, 4)) as image, open("a.png", "wb", opener=functools.partial(os.open, dir_fd=here)) as file:
        image.save(file, "PNG")
    os.close(here)
    try:
        summary = images.process(tmp_path / "src", tmp_path / "out", recursive=True)
        assert [Path(one.source).name for one in summary.done] == ["a.png"]
        assert summary.ok, str(summary)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "src", tmp_path / "out"], check=True)


# --- what is in a file, and what of it comes out --------------------------------------------------------------------


@pytest.mark.parametrize("tag", range(1, 9))
def test_a_tiff_is_turned_as_a_jpeg_is(tmp_path, tag):
    """Pillow turns it by itself, unlike all others."""
    exif = Image.Exif()
    exif[0x0112] = tag
    picture = Image.new("RGB", (40, 24))
    picture.paste((255, 255, 255), (0, 0, 8, 8))
    made = {}
    for suffix in ("jpg", "tif"):
        source = tmp_path / f"a.{suffix}"
        picture.save(source, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
        for orient in (True, False):
            out = tmp_path / f"{suffix}{orient}"
            one = only(images.process(source, out, format="png", orient=orient, keep=["exif"]))
            with Image.open(one.outputs[0]) as image:
                pixels = np.asarray(image.convert("L")) > 128
                made[suffix, orient] = one.width, one.height, one.notes, pixels.tolist(), image.getexif().get(0x0112)
    for orient in (True, False):
        assert made["tif", orient] == made["jpg", orient]


def png(path, bits, colour, key, rows):
    """With a transparent colour, as no library here writes it: of so many bits, in the rows as they are in the file."""

    def part(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    width = len(rows[0]) * 8 // (bits * (3 if colour == 2 else 1))
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = part(b"IHDR", header) + part(b"tRNS", key) + part(b"IDAT", data) + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(
    ("kind", "key", "row", "clear"),
    [
        ((1, 0), b"\0\1", b"\x0f", [0, 0, 0, 0, 1, 1, 1, 1]),
        ((2, 0), b"\0\2", b"\x1b", [0, 0, 1, 0]),
        ((4, 0), b"\0\5", b"\x51", [1, 0]),
        ((16, 2), b"\x12\x34\x56\x78\x9a\xbc", b"\x12\x34\x56\x78\x9a\xbc\x34\x34\x78\x78\xbc\xbc", [1, 0]),
    ],
)
def test_the_transparent_colour_of_a_png_is_that_of_the_file(tmp_path, kind, key, row, clear):
    png(tmp_path / "a.png", *kind, key, [row])
    one = only(images.process(tmp_path / "a.png", tmp_path / "out"))
    with Image.open(one.outputs[0]) as made:
        assert (np.asarray(made.getchannel("A"))[0] == 0).tolist() == [bool(pixel) for pixel in clear]


def test_a_profile_is_known_by_what_it_does_and_not_by_its_name(tmp_path):
    """A linear one may be called sRGB-something, too."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    size = struct.unpack_from(">I", srgb, 128)[0]
    entries = [struct.unpack_from(">4sII", srgb, 132 + 12 * number) for number in range(size)]
    linear = bytearray(srgb)
    for name, offset, _ in entries:
        if name in {b"rTRC", b"gTRC", b"bTRC"}:
            linear[offset : offset + 12] = b"curv" + bytes(8)  # no points: the identity
    for name, profile in (("srgb", srgb), ("linear", bytes(linear))):
        Image.new("RGB", (8, 8), (100, 100, 100)).save(tmp_path / f"{name}.png", icc_profile=profile)
    summary = images.process([tmp_path / "srgb.png", tmp_path / "linear.png"], tmp_path / "out")
    found = {}
    for one in summary.done:
        with Image.open(one.outputs[0]) as made:
            found[Path(one.source).stem] = made.getpixel((0, 0))[0]
    assert found["srgb"] == 100
    assert found["linear"] > 150


def test_an_output_is_the_same_whatever_else_is_asked_for(tmp_path):
    noise(1600, 1200).save(tmp_path / "a.jpg")
    small, large = [images.Resize("100x")], [images.Resize("1500x")]
    images.process(tmp_path / "a.jpg", tmp_path / "both", {"small": small, "large": large, "as it is": []})
    images.process(tmp_path / "a.jpg", tmp_path / "alone", {"small": small})
    assert (tmp_path / "both" / "a_small.jpg").read_bytes() == (tmp_path / "alone" / "a_small.jpg").read_bytes()


def test_what_is_transparent_in_a_gif_stays_so(tmp_path):
    picture = noise(mode="RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(tmp_path / "a.png")
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", format="gif"))
    with Image.open(one.outputs[0]) as made:
        clear = np.asarray(made.convert("RGBA").getchannel("A")) == 0
    assert np.array_equal(clear, np.asarray(picture.getchannel("A")) < 128)
    assert any("half transparent" in note for note in one.notes)
    again = only(images.process(one.outputs[0], tmp_path / "again"))
    with Image.open(again.outputs[0]) as made:
        assert np.array_equal(np.asarray(made.convert("RGBA").getchannel("A")) == 0, clear)


def test_exif_that_is_too_long_for_a_jpeg_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    noise().save(tmp_path / "a.png", exif=exif)
    one = only(images.process(tmp_path / "a.png", tmp_path / "out", format="jpg", keep=["exif"]))
    assert (one.status, one.notes) == ("written", ["its EXIF was not kept, since it is longer than a JPEG can hold"])


def test_what_was_lost_is_told_at_the_end(tmp_path):
    KINDS["16 bit"](tmp_path / "deep")
    KINDS["animation"](tmp_path / "move")
    told = str(images.process(sorted(tmp_path.glob("*.*")), tmp_path / "out", format="png"))
    assert "not all of it was kept: 16 bit became 8 bit (1 picture); the first of several frames (1 picture)" in told


def test_what_a_run_left_that_was_killed_at_its_very_end_is_tidied_by_the_next(photos, tmp_path):
    out = tmp_path / "out"
    step = images.Resize("5x5")
    assert run_again(photos, out, step)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    listed = out / ".manyhands-images.jsonl"
    listed.write_bytes(b"\n" + listed.read_bytes() + b"\n" + listed.read_bytes())  # as lines are appended in a run
    killed = """
        import os, pathlib, signal, sys
        from manyhands.apps import files
        with files.beside(pathlib.Path(sys.argv[1])) as unfinished:
            unfinished.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    program = programs.write(tmp_path / "killed.py", killed)
    assert subprocess.run([sys.executable, program, out / "a.png"], check=False).returncode == -signal.SIGKILL
    assert len(list(out.rglob("*.part"))) == 1
    images.process(photos, out, [step], recursive=True, dry_run=True)
    assert len(list(out.rglob("*.part"))) == 1
    assert set(run_again(photos, out, step).values()) == {"up to date"}
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


# --- the command, further -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["photos", "-o", "out", "--max-pixels", "9" * 400], "--max-pixels"),
        (["photos", "-o", "loop"], "a link to no folder"),
        (["photos", "-o", "out", "--manifest", "loop"], "--manifest loop cannot be written"),
        (["photos", "-o", "out", "--manifest", "out/.manyhands-images.jsonl"], "outputs are known by that file"),
        (["photos", "-o", "out", "--manifest", "deep"], "is no manifest"),
        (["photos", "-o", "loop", "--compare"], "loop"),
        (["photos", "-o", "out", "--mode", "cover"], "--mode says"),
        (["photos", "-o", "out", "--no-upscale"], "--no-upscale says"),
        (["photos", "-o", "out", "--resample", "box"], "--resample says"),
        (["photos", "-o", "out", "--resize", "5x5", "--resample", "nearest"], "'bilinear', 'box'"),
        (["photos", "-o", "out", "--name", "{variant}/{stem}.png"], "{variant} is empty"),
        (
            ["photos", "-o", "out", "--each-filter", "blur(1),blur(2)", "--name", "{stem}_{filter}.png"],
            "{variant} tells",
        ),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_a_command_cannot_do_is_told_in_one_line(tmp_path, monkeypatch, capsys, args, message):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "deep").write_text("[" * 100_000)
    monkeypatch.chdir(tmp_path)
    assert execute(["images", *args]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        noise().save(folder / name, "png")


@pytest.mark.parametrize(
    ("there", "args"),
    [
        ("a.png", ["--glob", "*.jpeg"]),
        ("notes.txt", []),
        ("trip/a.png", []),
        ("trip/notes.txt", ["-r"]),
    ],
)
def test_a_script_notices_that_no_picture_is_among_the_files(tmp_path, monkeypatch, capsys, there, args):
    monkeypatch.chdir(tmp_path)
    put(Path("in"), there)
    assert execute(["images", "in", "-o", "out", "--manifest", "m.jsonl", *args]) == 2
    told = capsys.readouterr().err
    assert told.startswith("manyhands: no pictures were found")
    assert ("with -r those in the folders below" in told) == ("-r" not in args)
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("args", [[], ["--glob", "*.jpeg"], ["-r"]])
def test_a_folder_in_which_nothing_is_left_is_no_error(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    put(Path("in"), ".hidden.png", ".cache/a.png", "small/made.png")
    (tmp_path / "in" / "done").mkdir()
    assert execute(["images", "in", "-o", "in/small", "--out-inside", *args]) == 0
    assert "no pictures were found" in capsys.readouterr().err


def test_a_second_run_whose_pictures_were_moved_away_has_nothing_to_do(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert execute(["images", "photos", "-o", "photos", "--out-inside", "--name", "{stem}_small.{ext}"]) == 0
    for path in [*photos.glob("?.*"), photos / "notes.txt", photos / "trip" / "ü 图.png"]:
        path.unlink()
    assert execute(["images", "photos", "-o", "photos", "--out-inside", "--name", "{stem}_small.{ext}"]) == 0
    assert "no pictures were found" in capsys.readouterr().err


def test_several_lists_of_filters_are_one(photos, tmp_path):
    filters = ("--each-filter", "blur", "--each-filter", "edges,emboss")
    code, _, told = command("photos/a.png", "-o", "out", *filters, "--manifest", "out/m.jsonl", cwd=tmp_path)
    assert code == 0, told
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a_blur.png", "a_edges.png", "a_emboss.png"}
    assert json.loads((tmp_path / "out" / "m.jsonl").read_text())["status"] == "written"


def test_a_reader_that_goes_away_ends_the_command_quietly(photos, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "manyhands", "images", "photos", "-o", "out", "--dry-run"],
        cwd=tmp_path, env=programs.environment(), stdout=writing, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, "")


def test_a_broken_description_is_told_by_the_manifest_alone(photos, tmp_path):
    noise().save(photos / "odd.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0garbage of a camera")
    _, _, told = command("photos/odd.jpg", "-o", "out", cwd=tmp_path)
    assert ("PIL" in told, "Warning" in told) == (False, False), told
