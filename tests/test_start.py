"""Start of a process: a short command is mostly imports."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aehub
from aehub.cli import main
from material import moving_picture

ROOT = Path(__file__).resolve().parent.parent
# Modules are compiled once, as an installation does.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(ROOT)}


def processor_seconds(*arguments: str) -> float:
    """Processor time of a Python process; other processes lengthen it less than its wall time."""
    code = ("import resource, subprocess, sys\n"
            "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
            "print(used.ru_utime + used.ru_stime)")
    done = subprocess.run([sys.executable, "-c", code, sys.executable, *arguments], check=True,
                          capture_output=True, text=True, env=ENVIRONMENT)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform == "win32", reason="asks the resources of child processes")
def test_the_package_is_imported_in_a_fraction_of_a_second() -> None:
    assert min(processor_seconds("-c", "import aehub") for _ in range(3)) < 0.3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="asks the resources of child processes")
def test_a_small_file_is_decompressed_in_little_more_time_than_torch_takes_to_import(
    tmp_path: Path
) -> None:
    frames = moving_picture(8, 128, 128)
    for name, shown in (("still", frames[:1]), ("clip", frames)):
        file, back = tmp_path / f"{name}.aev", tmp_path / f"{name}.mp4"
        aehub.compress(shown, file, measure=False)
        command = ("-m", "aehub", "decompress", str(file), str(back), "--force")
        processor_seconds(*command)
        spent = [(processor_seconds(*command), processor_seconds("-c", "import torch"))
                 for _ in range(4)]
        ours, torch_alone = map(min, zip(*spent, strict=True))
        assert ours < 1.8 * torch_alone, (name, spent)


def test_what_only_motion_needs_is_not_imported_for_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "still.aev"
    aehub.compress([np.full((64, 64, 3), 90, np.uint8)], file, measure=False)
    code = ("import sys, aehub\n"
            f"assert len(list(aehub.decompress({str(file)!r}))) == 1\n"
            "print([name for name in ('numba', 'scipy', 'gradio') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          env=ENVIRONMENT)
    assert done.stdout.strip() == "[]"


def test_a_command_leaves_the_collector_of_garbage_as_it_was(tmp_path: Path) -> None:
    before = gc.get_threshold(), gc.isenabled()
    for arguments in (["models"], ["info", str(tmp_path / "none.aev")]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert (gc.get_threshold(), gc.isenabled()) == before
