"""Results of a compression: numbers and files. Needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aehub.results import Compressed


@dataclass(frozen=True)
class Baseline:
    """Another codec on the same frames, as near to the same bytes as its settings reach.

    Attributes:
        codec: e.g. "x264-medium".
        crf: its constant rate factor.
        bytes: of the bare stream, without container and sound.
        psnr: (6Y + U + V)/8 in dB over the clip.
        ms_ssim: of luma; None below 176 pixels on the short side.
        seconds: duration of all encodes of the search.
        encodes: number of these encodes.
    """

    codec: str
    crf: float
    bytes: int
    psnr: float
    ms_ssim: float | None
    seconds: float
    encodes: int


@dataclass(frozen=True)
class Playback:
    """A decoded file, measured against its original.

    Attributes:
        width: of one picture, in pixels.
        height: of one picture, in pixels.
        half: first row of the reconstruction in the stacked video.
        times: presentation time of each frame, in seconds.
        seconds: duration.
        has_sound: whether the videos carry sound.
        psnr: (6Y + U + V)/8 in dB over the clip.
        ms_ssim: of luma; None below 176 pixels on the short side.
        frame_psnrs: `psnr` of every frame.
        frame_bytes: bytes by which the file grew with every frame.
    """

    width: int
    height: int
    half: int
    times: tuple[float, ...]
    seconds: float
    has_sound: bool
    psnr: float
    ms_ssim: float | None
    frame_psnrs: tuple[float, ...]
    frame_bytes: tuple[int, ...]


@dataclass(frozen=True)
class CompressionReport:
    """A compression, measured and compared.

    Attributes:
        source_bytes: size of the input file.
        trimmed: whether only a part of it was used.
        prepared: the lossless working copy, as the model got it.
        stacked: mp4 with the original above the reconstruction; see `Playback.half`.
        decoded: mp4 of the reconstruction.
        compressed: the file that was made; its `ratio` is None for a trimmed clip.
        playback: the reconstruction, measured.
        baselines: other codecs at the same bytes; empty if not requested.
        seconds: duration of each stage.
        notes: changes made to the clip before coding, and parts left out.
        is_editable: the file is turned and cut without decoding it.
        standard: name of the standard codec inside the file, with its settings; "" if there is
            none.
    """

    source_bytes: int
    trimmed: bool
    prepared: Path
    stacked: Path
    decoded: Path
    compressed: Compressed
    playback: Playback
    baselines: tuple[Baseline, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...]
    is_editable: bool = True
    standard: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers with stable keys; files by name, without folder."""
        facts = self.compressed.named()
        facts.update(
            source_bytes=self.source_bytes,
            ratio=None if self.trimmed else round(self.source_bytes / facts["bytes"], 3),
            psnr=round(self.playback.psnr, 3),
            ms_ssim=None if self.playback.ms_ssim is None else round(self.playback.ms_ssim, 6),
            elapsed=round(sum(self.seconds.values()), 3),
            stages={name: round(value, 3) for name, value in self.seconds.items()},
            neighbours=[asdict(baseline) for baseline in self.baselines],
            notes=list(self.notes),
        )
        return facts

    def record(self) -> dict[str, Any]:
        """Return everything as JSON for `from_record`, files by name."""
        return asdict(self, dict_factory=_with_names)

    @classmethod
    def from_record(cls, record: dict[str, Any], folder: Path) -> CompressionReport:
        """Rebuild a report from `record()`; its files lie in `folder`."""
        compressed, playback = record["compressed"], record["playback"]
        compressed = {**compressed, "path": str(folder / compressed["path"])}
        files = {name: folder / record[name] for name in ("prepared", "stacked", "decoded")}
        return cls(**{
            **record, **files, "compressed": Compressed(**_tuples(compressed)),
            "playback": Playback(**_tuples(playback)), "notes": tuple(record["notes"]),
            "baselines": tuple(Baseline(**baseline) for baseline in record["baselines"]),
        })


def _with_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = {name: value.name if isinstance(value, Path) else value for name, value in pairs}
    return {**facts, "path": Path(facts["path"]).name} if "path" in facts else facts


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """Turn lists back into the tuples that they were before JSON."""
    return {name: tuple(value) if isinstance(value, list) else value
            for name, value in facts.items()}
