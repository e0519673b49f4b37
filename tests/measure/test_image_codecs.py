from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from aehub.measure import SourceClip, parse_codecs
from aehub.measure.image_codecs import ImageCodec
from aehub.media.metrics import Distortion
from aehub.media.picture import Picture

# The colour path may not be what limits a codec: WebP's own quantiser ends at about 50 dB.
BEST = {"jpeg": (100, 55), "webp": (100, 46), "avif": (1, 50)}


@pytest.fixture(params=parse_codecs("jpeg,webp,avif"), ids=lambda codec: codec.name)
def still(request: pytest.FixtureRequest) -> ImageCodec:
    return request.param


def psnr(reference: Picture, decoded: Picture) -> float:
    distortion = Distortion()
    distortion.add(reference, decoded)
    return distortion.psnr


def test_no_conversion_of_colour_limits_a_picture_codec(
    source: Callable[..., SourceClip], still: ImageCodec
) -> None:
    clip = source(130, 98, 1)
    picture = clip.frames[0]
    # Samples beyond limited range, and chroma that no RGB colour has.
    extreme = Picture([
        np.clip(picture[0].astype(int) * 2 - 120, 0, 255).astype(np.uint8), *picture[1:]])
    quality, least = BEST[still.name]
    for planes in (picture, extreme):
        (decoded,) = still.encode([planes], clip.info, quality).decoded
        assert psnr(planes, decoded) > least


def test_odd_sizes_come_back_as_they_were(
    source: Callable[..., SourceClip], still: ImageCodec
) -> None:
    clip = source(67, 51, 1)
    (decoded,) = still.encode(clip.frames, clip.info, BEST[still.name][0]).decoded
    assert psnr(clip.frames[0], decoded) > 38


def test_every_frame_is_a_file_of_its_own_and_whole_files_count(
    source: Callable[..., SourceClip], still: ImageCodec
) -> None:
    clip = source(64, 64, 3)
    encoded = still.encode(clip.frames, clip.info, still.qualities[2])
    alone = [still.write(planes, still.qualities[2]) for planes in clip.frames]
    assert encoded.n_bytes == sum(map(len, alone))
    for file in alone:
        with Image.open(io.BytesIO(file)) as picture:
            assert (picture.format or "").lower() == still.name
            assert picture.size == (64, 64)
    assert len(list(encoded.decoded)) == 3


def test_jpeg_stores_chroma_at_half_resolution(source: Callable[..., SourceClip]) -> None:
    (jpeg,) = parse_codecs("jpeg")
    assert isinstance(jpeg, ImageCodec)
    with Image.open(io.BytesIO(jpeg.write(source().frames[0], 50))) as picture:
        assert [component[1:3] for component in picture.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]


def test_qualities_span_a_useful_range(
    source: Callable[..., SourceClip], still: ImageCodec
) -> None:
    clip = source(128, 96, 1)
    qualities = []
    for quality in (min(still.qualities), max(still.qualities)):
        (decoded,) = still.encode(clip.frames, clip.info, quality).decoded
        qualities.append(psnr(clip.frames[0], decoded))
    assert min(qualities) < 34 and max(qualities) > 40
