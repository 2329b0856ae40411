"""A run: inputs in, one record a result out, a summary at the end, and an exit code."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.cli.calls import fit_call
from manyhands.cli.options import OnError, Options
from manyhands.cli.problems import CommandError, Exit
from manyhands.cli.reading import STDIN
from manyhands.cli.records import Outcome, failure_line, json_record, plain_result
from manyhands.cli.reporting import ProgressKind, Tally, in_options, progress_option, summary
from manyhands.cli.sources import Inputs, Listed, Source, Stream, choose_source, is_among
from manyhands.cli.streams import FileLines, Lines, ReaderGone, StdoutLines, results_apart, say
from manyhands.cli.targets import Target, load_target, parse_address
from manyhands.errors import ManyhandsError

_WRONG_ARGUMENTS = re.compile(r"TypeError: .*(positional|keyword) argument")
CALL_HINT = (
    "hint: --call item gives each input as one argument; --call args spreads a list over the parameters; "
    "--call kwargs an object, or a row of a CSV file"
)


class Stopped(Exception):
    """A task failed, and the user asked to stop at the first failure."""


@dataclass
class Run:
    """One run from its first input to its last record."""

    target: Target
    source: Source
    total: int | None
    options: Options
    lines: Lines
    results_on_terminal: bool
    tally: Tally = field(default_factory=Tally)
    report: mh.Report | None = None

    def carry_out(self) -> Exit:
        """Run everything, write the summary and return the exit code.

        Raises:
            CommandError: the input or the output failed midway; what was done before is delivered.
        """
        began = time.monotonic()
        try:
            code, ending = self._outcome()
        except CommandError:
            if self.tally.done:
                self._conclude(time.monotonic() - began, "stopped")
            raise
        if code is not Exit.READER_GONE:
            self._conclude(time.monotonic() - began, ending)
        return code

    def _outcome(self) -> tuple[Exit, str]:
        try:
            self._deliver()
        except KeyboardInterrupt:
            return Exit.INTERRUPTED, "interrupted"
        except Stopped:
            return Exit.FAILED, "stopped at the first failure"
        except ReaderGone:
            return Exit.READER_GONE, ""
        except ManyhandsError as error:  # an option that does not fit, workers that do not start
            raise CommandError(str(error)) from error
        return (Exit.FAILED if self.tally.failed else Exit.DONE), ""

    def _deliver(self) -> None:
        waiting: deque[Any] = deque()
        remembered = _Streamed if self.total is None else _Remembered
        with self._start(remembered(iter(self.source), waiting)) as results:
            try:
                for index, result in enumerate(results):
                    self._deliver_one(Outcome(index, waiting.popleft(), result))
            except KeyboardInterrupt:
                # A second Ctrl-C, while the workers are being stopped, ends the program on the spot.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                raise

    def _start(self, items: Iterator[Any]) -> contextlib.AbstractContextManager[Iterable[Any]]:
        options = self.options
        return mh.imap(
            fit_call(self.target.function, options.call),
            items,
            workers=options.workers,
            backend=options.backend.value,
            progress=progress_option(options.progress, results_on_terminal=self.results_on_terminal),
            desc=self.target.text,
            total=self.total,
            timeout=options.timeout,
            retry=mh.Retry(attempts=options.retries + 1) if options.retries else None,
            on_error="collect",  # also for raise and skip: every input must meet its own result here
            chunksize=options.chunksize,
            seed=options.seed,
            report=self._keep,
        )

    def _keep(self, report: mh.Report) -> None:
        self.report = report

    def _deliver_one(self, outcome: Outcome) -> None:
        failure = outcome.failure
        self.tally.done += 1
        if failure is not None:
            self.tally.failed += 1
            self.tally.first_failure = self.tally.first_failure or failure_line(outcome, failure)
        self._write(outcome)
        if failure is not None and self.options.on_error is OnError.RAISE:
            say(failure.traceback.rstrip())
            say(self.tally.first_failure)
            raise Stopped

    def _write(self, outcome: Outcome) -> None:
        """Write the record; a failure that leaves none is told on stderr instead."""
        left_out = self.options.plain or self.options.on_error is OnError.SKIP
        if outcome.failure is not None and left_out:
            say(failure_line(outcome, outcome.failure))
        else:
            self.lines.write(plain_result(outcome.result) if self.options.plain else json_record(outcome))

    def _conclude(self, seconds: float, ending: str) -> None:
        told = self.options.plain or self.options.on_error is not OnError.COLLECT  # then each was told as it came
        if self.tally.first_failure and not told and self.options.progress is not ProgressKind.JSON:
            say(f"first failure: {self.tally.first_failure}")
            if _WRONG_ARGUMENTS.search(self.tally.first_failure):
                say(CALL_HINT)
        say(summary(self.options.progress, self.tally, seconds, ending))
        if self.options.report and self.report is not None:
            say(in_options(str(self.report)))  # with the explanation
        elif self.options.explain and self.report is not None:
            say(in_options(str(self.report.strategy)))


class _Remembered:
    """Items passed on, each kept until its result comes."""

    def __init__(self, items: Iterator[Any], waiting: deque[Any]) -> None:
        self._items, self._waiting = items, waiting

    def __iter__(self) -> _Remembered:
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self._waiting.append(item)
        return item


class _Streamed(_Remembered):
    """Items that are read as they come: imap does not keep a result back to wait for the next of them.

    It knows them by their descriptor, as it knows files and pipes.
    """

    def fileno(self) -> int:
        """Whatever it is: only that there is one counts."""
        return 0


def run(target: str, inputs: Inputs, options: Options) -> Exit:
    """Run the function on the inputs and deliver the results to stdout or --out.

    Raises:
        CommandError: the target, the inputs, the options or the output are wrong.
    """
    with results_apart() as stdout:
        address = parse_address(target)
        source = choose_source(inputs, options.call)
        loaded = load_target(address)
        total = source.examine()
        with _open_lines(options.out, source, stdout) as lines:
            on_terminal = options.out is None and os.isatty(stdout)
            return Run(loaded, source, total, options, lines, on_terminal).carry_out()


@contextlib.contextmanager
def _open_lines(out: Path | None, source: Source, stdout: int) -> Iterator[Lines]:
    if out is None:
        yield StdoutLines(stdout)
        return
    if is_among(out, _files_of(source)):
        raise CommandError(f"--out {out} is one of the inputs: name another file")
    with contextlib.closing(FileLines(out)) as lines:
        yield lines


def _files_of(source: Source) -> Iterable[str]:
    """What is read, as far as it is known: a file of inputs, or inputs that may be names of files."""
    if isinstance(source, Stream):
        return [source.path] if source.path != STDIN else []
    return source.items if isinstance(source, Listed) and not isinstance(source.items, range) else []
