"""Training sets for object detection: cut-outs pasted on backgrounds, labelled exactly, on all cores.

>>> from manyhands.apps import synth
>>> synth.Config(objects="photo", backgrounds="back", rotate=(-30, 30)).rotate
(-30.0, 30.0)
"""

from __future__ import annotations

from manyhands.apps.synth.config import Config, from_mapping, load, read_settings, tutorial
from manyhands.apps.synth.examples import example
from manyhands.apps.synth.generating import Summary, config_of, generate, plan, resume
from manyhands.apps.synth.labels import Label
from manyhands.apps.synth.planning import Plan, Sample
from manyhands.apps.synth.previewing import preview
from manyhands.apps.synth.problems import AugmentFailed, InputProblems
from manyhands.apps.synth.reopening import export, replay
from manyhands.apps.synth.reporting import report
from manyhands.apps.synth.verifying import Verification, verify

__all__ = [
    "AugmentFailed",
    "Config",
    "InputProblems",
    "Label",
    "Plan",
    "Sample",
    "Summary",
    "Verification",
    "config_of",
    "example",
    "export",
    "from_mapping",
    "generate",
    "load",
    "plan",
    "preview",
    "read_settings",
    "replay",
    "report",
    "resume",
    "tutorial",
    "verify",
]
