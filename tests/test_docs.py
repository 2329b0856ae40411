"""The documentation tells the truth: its examples run and print what it says, and nothing public is left out.

A page's Python blocks are one script, run from top to bottom as a reader would; a block that begins with a comment
that names a file (``# words.py``) is a script of its own, saved by that name. A ``text`` block is what the script above
it prints. In ``console`` blocks, lines that begin with ``$ manyhands`` are run, and what follows is what they print.
Seconds are not compared.
"""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from programs import PATIENCE, environment, run
from typer.main import get_command

import manyhands as mh
from manyhands.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ENGLISH = [ROOT / "README.md", DOCS / "index.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
CHINESE = [ROOT / "README.zh-CN.md", *sorted((DOCS / "zh").rglob("*.md"))]
ALL = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\S+\.py)\n")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
LOADED = re.compile(r"""(?:src=["']?|<link[^>]*href=["']?|url\(["']?|@import ["'])((?:https?:)?//[^"')>]+)""")
SECONDS = re.compile(r"\d[\d.e-]* s\b")


@dataclass
class Script:
    """A script that a page shows, and what the page says that it prints."""

    name: str
    source: str = ""
    prints: str = ""


@dataclass
class Page:
    """What of a page can be run."""

    scripts: list[Script] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def name_of(path):
    return str(path.relative_to(ROOT))


def blocks(path):
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [(kind, textwrap.dedent(text)) for _, kind, text in found]


def read_page(path):
    page, running = Page(), None
    last = None
    for kind, text in blocks(path):
        if kind == "python" and (named := FILE_NAME.match(text)):
            last = Script(named[1], text)
            page.scripts.append(last)
        elif kind == "python":
            if running is None:
                running = Script("page.py")
                page.scripts.append(running)
            running.source += text
            last = running
        elif kind == "text":
            last.prints += text
        elif kind == "console":
            page.commands += commands(text)
    return page


def commands(text):
    """Each ``$ manyhands ...`` of a console block, with what it prints; other commands are only shown."""
    for part in text.split("$ ")[1:]:
        command, _, prints = part.replace("\\\n", " ").partition("\n")
        if command.startswith("manyhands "):
            yield command, prints


def assert_prints(wanted, got):
    wanted, got = SECONDS.sub("# s", wanted), SECONDS.sub("# s", got)
    same = doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS)
    assert same, f"the page says:\n{wanted}\nbut it prints:\n{got}"


def run_command(command, folder):
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "manyhands", *words],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("path", ENGLISH, ids=name_of)
def test_the_examples_of_a_page_run_and_print_what_it_says(path, tmp_path):
    page = read_page(path)
    assert page.scripts
    for script in page.scripts:
        (tmp_path / script.name).write_text(script.source, encoding="utf-8")
        assert_prints(script.prints, run(script.name, cwd=tmp_path).stdout)
    for command, prints in page.commands:
        assert_prints(prints, run_command(command, tmp_path))


def english_of(path):
    return ROOT / "README.md" if path.parent == ROOT else DOCS / path.relative_to(DOCS / "zh")


@pytest.mark.parametrize("path", CHINESE, ids=name_of)
def test_a_chinese_page_has_the_code_of_the_english_one(path):
    ours, theirs = blocks(path), blocks(english_of(path))
    assert [kind for kind, _ in ours] == [kind for kind, _ in theirs]
    assert [block for block in ours if block[0]] == [block for block in theirs if block[0]]  # others are for people


def test_every_page_for_users_is_there_in_chinese():
    assert {english_of(path) for path in CHINESE} >= set(ENGLISH)


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_links_between_pages_lead_somewhere(path):
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing == []


def text_of(*paths):
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


@pytest.mark.parametrize("readme", CHINESE[:1] + ENGLISH[:1], ids=name_of)
def test_a_readme_names_everything_public(readme):
    text = text_of(readme)
    names = [*mh.__all__, *vars(mh.Options())]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_reference_shows_everything_public():
    shown = re.findall(r"^::: manyhands\.(?:\w+\.)?(\w+)$", text_of(*(DOCS / "reference").glob("*.md")), re.MULTILINE)
    assert set(mh.__all__) - set(shown) == set()


def test_the_reference_shows_every_option_of_the_command_line():
    text = text_of(DOCS / "reference" / "command-line.md")
    group = get_command(app)
    options = {o for command in group.commands.values() for p in command.params for o in p.opts if o.startswith("-")}
    assert sorted(o for o in options if not re.search(rf"(?<![\w-]){o}\b", text)) == []


def test_the_documentation_names_no_file_that_is_not_there():
    named = re.findall(r"`((?:src|tests|examples|docs)/[\w./-]+)`", text_of(*ALL))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_pages_build_without_a_warning_and_load_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("properdocs", reason="the documentation's tools are not installed")
    run("-m", "properdocs", "build", "--strict", "-f", ROOT / "properdocs.yml", "-d", tmp_path, cwd=ROOT)
    assert LOADED.findall(text_of(*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css"))) == []
