"""Progress as the text beside a committed offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime.progress import BadProgress, Progress
from headrace.triggers.brokers.kafka.mark import PROGRESS_LIMIT, Mark

KAFKAS_LIMIT = 4096


@given(st.binary(max_size=PROGRESS_LIMIT))
def test_progress_comes_back_and_fits(progress):
    mark = Mark.of(7, progress)
    assert (mark.watermark, mark.progress) == (7, progress)
    assert len(mark.metadata) <= KAFKAS_LIMIT
    assert mark.metadata.isascii()


@pytest.mark.parametrize("metadata", ["", "node-3", "AQIDBA==", "hr0:AQID", "hr2:AQID", "eyJhIjoxfQ"])
def test_what_is_not_ours_is_no_progress(metadata):
    assert Mark(7, metadata).progress == b""


@pytest.mark.parametrize("metadata", ["hr1:§§", "hr1:A", "hr1:AQID\x00garbage"])
def test_what_was_ours_and_is_damaged_is_not_taken_for_no_progress(metadata):
    with pytest.raises(BadProgress):
        Progress.restore(7, Mark(7, metadata).progress)
