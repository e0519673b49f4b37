from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openings import temporary_files
from PIL import Image

from aehub.errors import AEHubError, InputError, LimitError
from aehub.measure import Comparison, SourceClip, compare, measure, parse_codecs
from aehub.measure.benchmark import load
from aehub.measure.model_codec import write_lossless
from aehub.media import decoded_clip


@pytest.fixture
def comparison(source: Callable[..., SourceClip], ruler: Any) -> Comparison:
    clips = [source(192, 176, 2, name="large"), source(64, 48, 4, name="small")]
    return compare(clips, [ruler(), ruler("cheap", cost=0.5), ruler("dear", cost=2)])


def test_a_codec_of_half_the_bytes_differs_by_minus_fifty_percent(comparison: Comparison) -> None:
    assert comparison.mean_difference("cheap") == pytest.approx(-50, abs=0.2)
    assert comparison.difference("small", "dear").percent == pytest.approx(100, abs=0.2)
    assert comparison.difference("large", "cheap", "ms_ssim").percent == pytest.approx(-50, abs=0.2)
    assert comparison.mean_difference("ruler") == 0


def test_rates_count_bits_of_luma_pixels_and_of_seconds(
    source: Callable[..., SourceClip], ruler: Any
) -> None:
    point = next(measure(source(100, 50, 4, fps=20), [ruler(qualities=(2,))]))
    assert point.bytes == 2000
    assert point.bits_per_pixel == pytest.approx(8 * 2000 / (4 * 100 * 50))
    assert point.kbps == pytest.approx(8 * 2000 / (4 / 20) / 1000)
    assert point.psnr == pytest.approx(42.11, abs=0.01)


def test_small_pictures_have_no_ms_ssim_and_say_why(comparison: Comparison) -> None:
    difference = comparison.difference("small", "cheap", "ms_ssim")
    assert difference.percent is None and "176" in difference.reason
    # The mean is that of the clips which have one.
    assert comparison.mean_difference("cheap", "ms_ssim") == pytest.approx(-50, abs=0.2)


def test_the_table_shows_points_differences_and_settings(comparison: Comparison) -> None:
    table = comparison.table()
    assert "large: 192x176, 2 frames, 25 fps" in table
    assert "against ruler (negative: fewer bits)" in table
    (mean,) = [line for line in table.splitlines() if line.startswith("  mean")]
    assert "-50.0 % / -50.0 %" in mean
    assert all(line == line.rstrip() for line in table.splitlines())


def test_json_carries_everything_and_no_infinities(
    comparison: Comparison, source: Callable[..., SourceClip], ruler: Any
) -> None:
    facts = json.loads(comparison.to_json())
    assert facts["anchor"] == "ruler"
    assert facts["clips"][0] == {
        "name": "large", "width": 192, "height": 176, "n_frames": 2, "fps": "25",
    }  # fmt: skip
    assert len(facts["points"]) == 2 * 3 * 3
    assert facts["codecs"][1]["bd_rate_psnr_clips"]["small"] == pytest.approx(-50, abs=0.2)
    assert {"bytes", "bits_per_pixel", "kbps", "psnr", "ms_ssim", "quality"} <= set(
        facts["points"][0]
    )
    lossless = compare([source(192, 176, 1)], [ruler(qualities=(1, 0.5))])
    assert json.loads(lossless.to_json())["points"][1]["psnr"] == 100


def test_progress_counts_every_point(source: Callable[..., SourceClip], ruler: Any) -> None:
    seen: list[tuple[int, int]] = []
    compare(
        [source(), source()],
        [ruler(), ruler("other")],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 12) for done in range(1, 13)]


def test_clips_of_one_name_are_kept_apart(source: Callable[..., SourceClip], ruler: Any) -> None:
    comparison = compare([source(), source(n_frames=2), source(n_frames=3)], [ruler()])
    assert [clip.name for clip in comparison.clips] == ["drift", "drift-2", "drift-3"]
    assert len(comparison.curve("drift-2", "ruler")) == 3


def test_the_anchor_is_the_usual_one_if_it_takes_part(
    source: Callable[..., SourceClip], ruler: Any
) -> None:
    codecs = [ruler(), ruler("x264-medium"), ruler("jpeg")]
    assert compare([source()], codecs).anchor == "x264-medium"
    assert compare([source()], codecs, stills=True).anchor == "jpeg"
    assert compare([source()], codecs[:1]).anchor == "ruler"
    with pytest.raises(InputError, match="anchor 'vp9' is not among the codecs ruler, x264-medium"):
        compare([source()], codecs, anchor="vp9")


def test_stills_and_frames_use_the_beginning_only(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    clip = source()
    write_lossless(tmp_path / "clip.mkv", clip.frames, clip.info)
    for given in (clip, tmp_path / "clip.mkv", str(tmp_path / "clip.mkv")):
        assert compare([given], [ruler()], stills=True).clips[0].n_frames == 1
        assert compare([given], [ruler()], frames=3).clips[0].n_frames == 3
        assert compare([given], [ruler()]).clips[0].n_frames == 5
    with pytest.raises(InputError, match="frames is 0"):
        compare([clip], [ruler()], frames=0)


def test_a_codec_that_loses_or_adds_frames_is_caught(
    source: Callable[..., SourceClip], ruler: Any
) -> None:
    with pytest.raises(AEHubError, match="returned 4 of the 5 frames"):
        compare([source()], [ruler(lost=1)])
    with pytest.raises(AEHubError, match="more than the 5 frames"):
        compare([source()], [ruler(lost=-1)])


def test_nothing_to_compare_is_refused(source: Callable[..., SourceClip], ruler: Any) -> None:
    with pytest.raises(InputError, match="no clip"):
        compare([], [ruler()])
    with pytest.raises(InputError, match="no codec"):
        compare([source()], [])
    with pytest.raises(InputError, match="drift has no frames"):
        compare([source(n_frames=0)], [ruler()])


def test_a_loaded_clip_is_on_disk_and_has_the_samples_of_the_file(
    source: Callable[..., SourceClip], tmp_path: Path
) -> None:
    clip = source(65, 51, 6)
    write_lossless(tmp_path / "clip.mkv", clip.frames, clip.info)
    loaded = load(tmp_path / "clip.mkv", frames=4)
    assert len(loaded.frames) == 4 and len(load(tmp_path / "clip.mkv").frames) == 6
    for got, wanted in zip(loaded.frames, clip.frames[:4], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))
    before = len(temporary_files())
    del loaded, got
    assert len(temporary_files()) < before


def test_measuring_goes_on_only_while_it_is_read(
    source: Callable[..., SourceClip], ruler: Any
) -> None:
    class Counting(ruler):  # type: ignore[misc]
        calls: list[float] = []

        def encode(self, frames: Any, info: Any, quality: float) -> Any:
            self.calls.append(quality)
            return super().encode(frames, info, quality)

    points = measure(source(), [Counting()])
    next(points)
    points.close()  # type: ignore[attr-defined]
    assert Counting.calls == [2]


@pytest.mark.parametrize("clips", [1, 2])
def test_the_figure_names_every_codec_and_clip(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path, clips: int
) -> None:
    sources = [source(192, 176, 1, name=f"clip{i}") for i in range(clips)]
    comparison = compare(sources, [ruler(), ruler("cheap", cost=0.5)])
    text = comparison.plot(tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in text for name in ("ruler", "cheap", "clip0", "\u221250 %"))


def test_a_figure_of_one_codec_or_many_clips_can_be_drawn(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    compare([source()], [ruler()]).plot(tmp_path / "one.png")
    many = compare([source(n_frames=1, name=f"c{i}") for i in range(6)], [ruler(), ruler("b")])
    with Image.open(many.plot(tmp_path / "many.png")) as picture:
        assert picture.width > 1500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.png", "one.png"]


def test_curves_without_common_quality_are_drawn_and_said(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    comparison = compare([source()], [ruler(), ruler("rough", qualities=(16, 32))])
    assert comparison.mean_difference("rough") is None
    (mean,) = [line for line in comparison.table().splitlines() if line.startswith("  mean")]
    assert mean.split() == ["mean", "-", "/", "-"]
    text = comparison.plot(tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "no common quality" in text


def test_a_figure_of_unknown_kind_is_refused_and_nothing_is_left(
    comparison: Comparison, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"'figure.docx'; end the name in .png"):
        comparison.plot(tmp_path / "figure.docx")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_plot_says_how_to_get_it(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'aehub\[plot\]'"):
        comparison.plot(tmp_path / "figure.png")


class Stubborn:
    """Refuses clips of one name, after one point."""

    name, settings, qualities = "stubborn", "none", (2.0, 4.0)

    def __init__(self, ruler: Any, refused: str) -> None:
        self.ruler, self.refused = ruler(qualities=self.qualities), refused

    def encode(self, frames: Any, info: Any, quality: float) -> Any:
        if quality == 4 and info.fps == (30 if self.refused == "fast" else 25):
            raise InputError("it takes no such\nclip.")
        return self.ruler.encode(frames, info, quality)


def test_one_failure_is_a_row_and_the_rest_goes_on(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    clips = [source(name="fast", fps=30), tmp_path / "broken.mp4", source(name="slow")]
    found = compare(clips, [Stubborn(ruler, "fast"), ruler()])
    assert [clip.name for clip in found.clips] == ["fast", "slow"]
    assert [len(found.curve(clip, "stubborn")) for clip in ("fast", "slow")] == [1, 2]
    assert [(one.clip, one.codec) for one in found.failures] == [
        ("fast", "stubborn"), ("broken", None)]  # fmt: skip
    *_, head, first, second = found.table().splitlines()
    assert head == "not measured"
    assert first.split() == ["fast", "stubborn", "it", "takes", "no", "such", "clip."]
    assert second.startswith("  broken  -")
    failures = json.loads(found.to_json())["failures"]
    assert failures[0] == {"clip": "fast", "codec": "stubborn", "reason": "it takes no such clip."}
    with pytest.raises(AEHubError, match="2 measurements failed, the first: fast with stub"):
        found.check()
    assert found.plot(tmp_path / "figure.svg").stat().st_size


def test_a_clip_without_room_for_its_frames_names_all_that_helps(
    source: Callable[..., SourceClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = source(64, 48, 2)
    write_lossless(tmp_path / "clip.mp4", clip.frames, clip.info)
    monkeypatch.setattr(decoded_clip, "RESERVED_BYTES", 1 << 60)
    with pytest.raises(LimitError, match=r"Trim it or make it smaller\.") as refused:
        compare([tmp_path / "clip.mp4"], "x264-medium")
    assert refused.value.option == ("frames=N (--frames N) measures only the first N of each clip. "
                                    "TMPDIR names a folder with more room.")


def test_a_codec_without_any_point_is_drawn_and_listed_without_one(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    refusing = Stubborn(ruler, "slow")
    refusing.qualities = (4.0,)
    for anchor in ("ruler", "stubborn"):
        found = compare([source(192, 176, 1)], [ruler(), refusing], anchor=anchor)
        assert found.speed("stubborn") is None
        assert json.loads(found.to_json())["codecs"][1]["encode_fps"] is None
        assert "not measured" in found.table() and found.plot(tmp_path / f"{anchor}.svg")
    with pytest.raises(InputError, match="it takes no such"):
        compare([source()], [refusing])


def test_what_can_be_known_is_checked_before_anything_is_measured(
    source: Callable[..., SourceClip], ruler: Any, tmp_path: Path
) -> None:
    class Watched(ruler):  # type: ignore[misc]
        def encode(self, frames: Any, info: Any, quality: float) -> Any:
            raise AssertionError("measured")

    with pytest.raises(InputError, match=r"nowhere\.mp4 does not exist"):
        compare([source(), tmp_path / "nowhere.mp4"], [Watched()])
    with pytest.raises(AEHubError, match="no-such/model"):
        compare([source()], [Watched(), *parse_codecs("no-such/model")])


def test_a_plot_has_a_name_as_long_as_a_name_can_be(
    comparison: Comparison, tmp_path: Path
) -> None:
    target = tmp_path / ("n" * 251 + ".svg")
    comparison.plot(target)
    assert list(tmp_path.iterdir()) == [target]
