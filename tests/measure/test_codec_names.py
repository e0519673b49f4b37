from __future__ import annotations

import pytest

from aehub.errors import InputError
from aehub.measure import parse_codecs
from aehub.measure.model_codec import ModelCodec


def test_codecs_come_in_the_order_named_and_keep_their_names() -> None:
    names = "d4-codec,x264-medium,x264-slow-bf0,x265-medium,svtav1-6,svtav1-13,vp9,jpeg,webp,avif"
    assert [codec.name for codec in parse_codecs(names)] == names.split(",")


def test_spaces_around_names_do_not_matter() -> None:
    assert [codec.name for codec in parse_codecs(" jpeg , webp,")] == ["jpeg", "webp"]


def test_settings_name_encoder_and_options() -> None:
    plain, low_delay = parse_codecs("x264-medium,x264-medium-bf0")
    assert plain.settings == "libx264 preset=medium crf=18,23,28,33,38,43"
    assert "bf=0" in low_delay.settings


@pytest.mark.parametrize("name", ["x264", "x264-fastest", "svtav1-14", "h266", "d5-codec", "mjpeg"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=rf"codec '{name}' is unknown; known are d4-codec, "
                       "sandwich-av1, x264"):
        parse_codecs(f"jpeg,{name}")


def test_a_folder_or_hub_id_is_a_model() -> None:
    codecs = parse_codecs("org/name@v2,./weights/mine,my-model", models=["my-model"])
    assert all(isinstance(codec, ModelCodec) for codec in codecs)


@pytest.mark.parametrize(("text", "message"), [
    ("jpeg,jpeg", "twice"), (" , ", "no codec is named")])
def test_duplicates_and_an_empty_list_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_codecs(text)
