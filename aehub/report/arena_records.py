"""Results of the arena: numbers and files, as JSON and as CSV. Needs no torch."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reconstruction:
    """A clip as one model gives it back.

    Attributes:
        model: its name.
        path: its `.aev` file, without sound.
        quality: of the file.
        bytes: of the file.
        bits_per_pixel: bits of the file over pixels of all frames.
        latent_ratio: numbers of a picture (R, G and B of each pixel) over those of its latents.
        psnr: (6Y + U + V)/8 in dB over the clip.
        ms_ssim: of luma; None below 176 pixels on the short side.
        flicker_psnr: PSNR in dB of the differences of luma from frame to frame, at most 100; lower
            is more flicker; None for one frame.
        first_psnr: `psnr` of the first frame.
        colour_errors: mean of decoded less original R, G and B, in levels of 255.
        encode_seconds: of each frame, in one encode.
        decode_seconds: of each frame.
        memory_bytes: most memory of encoding or decoding, beyond that of the process before (the
            loaded weights among it); None where it is not known.
        drift: `psnr` after each encode-decode pass; empty if not requested.
        notes: changes made to the clip by the codec.
    """

    model: str
    path: Path
    quality: float
    bytes: int
    bits_per_pixel: float
    latent_ratio: float
    psnr: float
    ms_ssim: float | None
    flicker_psnr: float | None
    first_psnr: float
    colour_errors: tuple[float, float, float]
    encode_seconds: float
    decode_seconds: float
    memory_bytes: int | None
    drift: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def colour_drift(self) -> float:
        """The largest of `colour_errors`, with its sign."""
        return max(self.colour_errors, key=abs)

    @property
    def drift_psnr(self) -> float | None:
        """PSNR after the last pass; None if not requested."""
        return self.drift[-1] if self.drift else None

    def to_json(self) -> dict[str, Any]:
        """Return the numbers with stable keys, rounded; the file by its name."""
        facts = asdict(self)
        del facts["path"], facts["notes"]
        rounded = {name: round(value, 6) if isinstance(value, float) else value
                   for name, value in facts.items()}
        return {**rounded, "file": self.path.name, "colour_drift": round(self.colour_drift, 3),
                "colour_errors": [round(error, 3) for error in self.colour_errors],
                "drift": [round(psnr, 3) for psnr in self.drift], "notes": list(self.notes)}


@dataclass(frozen=True)
class ArenaReport:
    """One clip through several models.

    Attributes:
        name: of the clip, without suffix.
        width: of a picture, in pixels.
        height: of a picture, in pixels.
        fps: nominal rate, e.g. "30000/1001".
        times: presentation time of each frame, in seconds.
        target_size: bytes that all files were brought to; None if they share a quality.
        results: of the models that did not fail, in the order given.
        failures: name of a model -> its reason, one sentence.
        prepared: the lossless working copy, as the models got it.
        stacked: mp4 with the original above the reconstructions in the order of `results`.
        row_height: rows from the top of one picture to that of the next in `stacked`.
        picture: PNG with a crop of the original and of each reconstruction.
        notes: changes made to the clip before coding.
    """

    name: str
    width: int
    height: int
    fps: str
    times: tuple[float, ...]
    target_size: int | None
    results: tuple[Reconstruction, ...]
    failures: dict[str, str]
    prepared: Path
    stacked: Path
    row_height: int
    picture: Path
    notes: tuple[str, ...]

    def moved_to(self, folder: Path) -> ArenaReport:
        """Return the report with its files in another folder."""
        files = {name: folder / getattr(self, name).name
                 for name in ("prepared", "stacked", "picture")}
        results = (replace(one, path=folder / one.path.name) for one in self.results)
        return replace(self, results=tuple(results), **files)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers with stable keys."""
        return {
            "name": self.name, "width": self.width, "height": self.height,
            "frames": len(self.times), "fps": str(Fraction(self.fps)),
            "target_size": self.target_size,
            "models": [one.to_json() for one in self.results],
            "failures": [{"model": model, "reason": reason}
                         for model, reason in self.failures.items()],
            "notes": list(self.notes),
        }

    def to_csv(self) -> str:
        """Return one line for each model, failed ones with their reason, below a line of names."""
        rows = [self._csv_row(one.to_json()) for one in self.results]
        file = io.StringIO()
        writer = csv.DictWriter(file, [*rows[0], "failure"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        writer.writerows({"model": model, "failure": reason}
                         for model, reason in self.failures.items())
        return file.getvalue()

    @staticmethod
    def _csv_row(facts: dict[str, Any]) -> dict[str, Any]:
        del facts["notes"]
        channels = zip(("red_error", "green_error", "blue_error"), facts.pop("colour_errors"),
                       strict=True)
        return {**facts, "drift": " ".join(map(str, facts["drift"])), **dict(channels)}
