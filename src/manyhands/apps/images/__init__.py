"""Folders of pictures on all cores: resized, filtered and converted, safely and again and again.

>>> from manyhands.apps import images
>>> images.Resize("200x200", mode="cover").key
'resize(200x200, cover)'
"""

from __future__ import annotations

from manyhands.apps.images.comparing import compare
from manyhands.apps.images.operations import FILTERS, Apply, Filter, Resize, parse_filter
from manyhands.apps.images.processing import process
from manyhands.apps.images.summary import Done, Summary

__all__ = ["FILTERS", "Apply", "Done", "Filter", "Resize", "Summary", "compare", "parse_filter", "process"]
