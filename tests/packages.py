"""Packages of other people, put where pip would: a codec of theirs and its entry point."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from aehub.weights import architectures
from pageserver import ROOT

ZLIB = "zlib-planes"
"""Name of the model, and of the architecture, of the package `zlib_codec`."""
_MAKE = """
import sys
from zlib_codec.codec import ZlibCodec
ZlibCodec({"name": sys.argv[1].rpartition("/")[2]}).save_pretrained(sys.argv[1])
"""


def install(site: Path, name: str, record: str) -> None:
    """Write a package of one module, its record."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    (site / name / "record.py").write_text(record)
    write_metadata(site, name)


def write_metadata(site: Path, name: str) -> None:
    """Write the metadata of a package with one entry point, of its own name."""
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[aehub.codecs]\n{name} = {name}.record:RECORD\n")


def install_zlib(site: Path) -> Path:
    """Install the package `zlib_codec` and make its model; return the folder of that."""
    package = Path(shutil.copytree(ROOT / "tests/zlib_codec", site / "zlib_codec",
                                   ignore=shutil.ignore_patterns("__pycache__")))
    write_metadata(site, "zlib_codec")
    folder = package / "weights" / ZLIB
    subprocess.run([sys.executable, "-c", _MAKE, folder], check=True,
                   env={"PYTHONPATH": f"{ROOT}:{site}"})
    return folder


_MORE = """
from pathlib import Path
from aehub.weights.architectures import COMPRESSION, Architecture
RECORD = Architecture("more", COMPRESSION, loaded="no:thing", payload_formats=(101,),
                      folders=({}))
"""


def install_models(site: Path) -> list[str]:
    """Install `zlib_codec` and two models more; return the names of the three."""
    folder = install_zlib(site)
    second, tiny = folder.with_name("zlib-again"), ROOT / "tests/golden/tiny-d4"
    subprocess.run([sys.executable, "-c", _MAKE, second], check=True,
                   env={"PYTHONPATH": f"{ROOT}:{site}"})
    install(site, "more", _MORE.format(f"Path({str(second)!r}), Path({str(tiny)!r})"))
    return [ZLIB, second.name, tiny.name]


@contextmanager
def zlib_installed(site: Path) -> Iterator[Path]:
    """The folder of the model of `zlib_codec`, a package of this process within the block."""
    folder, before = install_zlib(site), _forget_zlib()
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    architectures.refresh()
    try:
        yield folder
    finally:
        sys.path.remove(str(site))
        _forget_zlib()
        sys.modules.update(before)
        architectures.refresh()


def _forget_zlib() -> dict[str, ModuleType]:
    """Forget imported modules of `zlib_codec`; those of the tests are not those of the site."""
    names = [name for name in sys.modules if name.partition(".")[0] == "zlib_codec"]
    return {name: sys.modules.pop(name) for name in names}
