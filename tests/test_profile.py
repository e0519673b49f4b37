"""The programs that measure time by stage and by size run with the codec as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MEASURE = ROOT / "docs" / "measure"


def output_of(*arguments: str, code: int = 0) -> str:
    """What a program of docs/measure prints."""
    done = subprocess.run([sys.executable, *arguments], cwd=MEASURE, check=False, text=True,
                          capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def cells_of(table: str) -> dict[str, list[str]]:
    """First cell of each row -> the others."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")]
            for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.slow
def test_the_profile_shows_every_stage_of_the_codec() -> None:
    rows = cells_of(output_of("profile.py", "--sizes", "96x64", "--frames", "9"))
    encoded = ["video in", "scene cuts, grouping", "motion search", "motion refinement",
               "analysis", "integer networks", "mean networks", "quantisation", "motion symbols",
               "latent symbols", "prediction", "synthesis", "all"]
    decoded = ["integer networks", "mean networks", "motion symbols", "latent symbols",
               "prediction", "synthesis", "post-filter", "conversion to 8 bits", "all"]
    for stages, first in ((encoded, 0), (decoded, 3)):
        for stage in stages:
            milliseconds, macs, share = rows[stage][first:first + 3]
            assert float(milliseconds) > 0, (stage, rows[stage])
            if stage in ("analysis", "integer networks", "mean networks", "synthesis", "all"):
                assert float(macs) > 0 and 0 < float(share.strip("%")) < 100, (stage, rows[stage])


def test_the_profile_names_a_function_that_it_no_longer_finds() -> None:
    code = ("import stages\n"
            "stages.WATCHED['synthesis'] = ('aehub.codecs.d4.network:FrameNetwork.paint',)\n"
            "stages.by_stage(print)")
    told = output_of("-c", code, code=1)
    assert "FrameNetwork.paint, which is no more" in told and "Traceback" not in told


def test_the_profile_leaves_the_profilers_of_python_alone() -> None:
    assert "run" in output_of("-c", "import cProfile, profile\nprint(profile.run)")


@pytest.mark.slow
def test_cost_is_measured_by_size_and_by_length() -> None:
    rows = cells_of(output_of("linear.py", "--sizes", "64x64", "--seconds", "0.4"))
    cells = [float(cell) for cell in rows["64x64"]]
    assert len(cells) == 9 and all(cell > 0 for cell in cells)
