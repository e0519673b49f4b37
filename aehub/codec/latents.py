"""Codes together with the quality they were encoded at, for programs."""

from __future__ import annotations

from aehub.arguments import check_number
from aehub.errors import InputError
from aehub.models.d4_codec import HYPER, Codes


class Latents(Codes):
    """Codes that say at which quality they were made.

    Attributes:
        quality: 0..100; None if it is not known.
    """

    quality: float | None = None

    @classmethod
    def of(cls, codes: Codes, quality: float) -> Latents:
        """These codes, made at `quality`."""
        latents = cls(*codes)
        latents.quality = quality
        return latents


def check_quality(quality: float) -> float:
    """`quality` if it can be used.

    Raises:
        InputError: it is not a number from 0 to 100.
    """
    return round(check_number("quality", quality, 0, 100), 2)


def quality_of(codes: Codes, given: float | None) -> float:
    """The quality at which to decode codes: their own, or the one that is given."""
    known = codes.quality if isinstance(codes, Latents) else None
    if given is None and known is None:
        raise InputError("the codes do not say their quality; give the one they were made at.")
    quality = check_quality(given if given is not None else known or 0.0)
    if known is not None and quality != known:
        raise InputError(f"the codes were made at quality {known:g} and cannot be decoded at "
                         f"{quality:g}; leave the quality out, or encode again.")
    return quality


def size_of(codes: Codes) -> tuple[int, int]:
    """(width, height) of the padded pictures that codes hold."""
    hyper, latent = map(tuple, (part.shape for part in codes))
    rows, columns = latent[-2:]
    if len(latent) != 4 or hyper != (latent[0], HYPER.channels, rows // 4, columns // 4):
        raise InputError(f"codes of the shapes {list(hyper)} and {list(latent)} are not what "
                         "encode returns; give those as they are.")
    return columns * 8, rows * 8
