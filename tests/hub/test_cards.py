"""Cards: made of measured numbers, with front matter that hubs understand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from aehub.hub.card import front_matter, make_card, problems
from aehub.measure.comparison import Comparison
from aehub.measure.points import ClipShape, Point
from hub.conftest import ROOT, TINY

CONFIG = json.loads((TINY / "config.json").read_text())


def facts_of(card: str) -> dict[str, Any]:
    facts = yaml.safe_load(card.split("---")[1])
    assert isinstance(facts, dict)
    return facts


def test_a_card_holds_the_measured_numbers_in_words_and_for_hubs(
    measured: dict[str, Any]
) -> None:
    card = make_card(CONFIG, size_bytes=12_345, measured=measured, datasets=["lab/clips"])
    facts = facts_of(card)
    assert problems(card) == []
    assert facts["library_name"] == "aehub" and facts["license"] == "apache-2.0"
    assert facts["datasets"] == ["lab/clips"] and facts["metrics"] == ["psnr", "ms-ssim"]
    assert facts["pipeline_tag"] == "image-to-image"
    assert {"video-compression", "autoencoder", "aehub"} <= set(facts["tags"])
    (index,) = facts["model-index"]
    (result,) = index["results"]
    assert index["name"] == "tiny-d4" and "352x288" in result["dataset"]["name"]
    assert [metric["value"] for metric in result["metrics"]] == [-12.3, -4.6]
    assert "| tiny-d4 | -12.3 % | -4.6 % |" in card
    assert "| street | 50 | 1,234 | 0.5000 | 33.30 | – |" in card
    assert f"{CONFIG['entropy_hash']}-{CONFIG['synthesis_hash']}" in card


def test_a_real_comparison_makes_a_card() -> None:
    from fractions import Fraction

    points = tuple(
        Point("street", codec, quality, int(factor * size), 0.1 * size, 1.0, 30 + quality, 0.9 + (
            quality / 100), 1.0, 1.0)
        for codec, factor in (("x264-medium", 1.0), ("tiny-d4", 0.8))
        for quality, size in ((1.0, 1000), (2.0, 2000), (3.0, 3500), (4.0, 6000), (5.0, 9000)))
    comparison = Comparison(
        "x264-medium", (ClipShape("street", 352, 288, 8, Fraction(25)),),
        {"x264-medium": "", "tiny-d4": ""}, points)
    card = make_card(CONFIG, size_bytes=1, measured=comparison.to_dict())
    values = [metric["value"] for metric in
              facts_of(card)["model-index"][0]["results"][0]["metrics"]]
    assert values == pytest.approx([-20, -20], abs=0.2)


def test_a_card_without_measurement_says_so() -> None:
    card = make_card(CONFIG, size_bytes=1)
    assert "Nothing was measured" in card and "model-index" not in facts_of(card)
    assert problems(card) == []


@pytest.mark.parametrize("card, words", [
    ("# tiny\n", "front matter"),
    ("---\n[1, 2\n---\n", "not YAML"),
    ("---\njust words\n---\n", "no table"),
    ("---\n- a\n---\n", "no table"),
    ("---\nlibrary_name: aehub\n---\n", "does not say license"),
    ("---\nlibrary_name: diffusers\nlicense: mit\n---\n", "library is 'diffusers'"),
    ("---\nlibrary_name: aehub\ndatasets: ['my clips!']\n---\n", "no id of a dataset"),
    ("---\nlibrary_name: aehub\ndatasets: [7]\n---\n", "no id of a dataset"),
    ("---\ntags: video\n---\n", "does not say tags"),
    ("---\n!!python/object/apply:os.system ['true']\n---\n", "not YAML"),
])
def test_the_problems_of_a_card_are_named(card: str, words: str) -> None:
    assert any(words in problem for problem in problems(card))


def test_front_matter_survives_strange_names() -> None:
    text = front_matter({"name": "x: y #\n---", "task": "video-compression"},
                        datasets=["a/b"], tags=["'", "- a"])
    assert yaml.safe_load(text)["tags"][:2] == ["'", "- a"]


def test_the_cards_of_bundled_models_are_good_enough_for_a_hub() -> None:
    for card in sorted(Path(ROOT / "weights").glob("*/README.md")):
        wrong = [problem for problem in problems(card.read_text(encoding="utf-8"))
                 if "datasets" not in problem]
        assert not wrong, (card, wrong)
