"""Errors about working copies name what was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from aehub.errors import AEHubError, LimitError
from aehub.report.prepare import errors_about


def test_an_error_about_a_working_copy_names_the_file_that_was_given() -> None:
    source, copy = Path("/up/holiday.gif"), Path("/job/holiday.original.mkv")
    with pytest.raises(LimitError) as caught, errors_about(source, copy):
        raise LimitError("holiday.original.mkv is longer than 4 s. Trim it.", "Or else.")
    assert str(caught.value) == "holiday.gif is longer than 4 s. Trim it. Or else."
    with pytest.raises(AEHubError, match="another thing") as other, errors_about(source, copy):
        raise AEHubError("another thing")
    assert other.value.__cause__ is None
