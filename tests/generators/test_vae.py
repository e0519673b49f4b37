"""The variational autoencoder of small pictures: shapes, bounds, and what the weights promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from aehub.generators.vae import PictureVAE
from aehub.weights import stored_network

BUNDLED = Path(__file__).resolve().parents[2] / "weights" / "emoji-vae"
SMALL = {"latent": 64, "width": 8, "blocks": 1, "detail": 8}


@pytest.fixture(scope="module")
def small() -> PictureVAE:
    torch.manual_seed(0)
    model = PictureVAE(**SMALL, anchors=5).eval().requires_grad_(False)
    model.anchors.copy_(torch.randn(5, 64))
    return model


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pictures_become_latents_and_latents_pictures(small: PictureVAE) -> None:
    pictures = torch.rand(3, 3, 64, 64, generator=generator(0))
    latents = small.to_latents(pictures)
    made = small.to_pictures(latents)
    assert latents.shape == (3, 64) and made.shape == pictures.shape
    assert latents.dtype == made.dtype == torch.float32
    assert 0 <= float(made.min()) and float(made.max()) <= 1


def test_pictures_stay_in_range_whatever_the_latents(small: PictureVAE) -> None:
    made = small.to_pictures(1e4 * torch.randn(2, 64, generator=generator(0)))
    assert 0 <= float(made.min()) and float(made.max()) <= 1


def test_a_picture_alone_is_what_it_is_in_a_batch(small: PictureVAE) -> None:
    latents = torch.randn(4, 64, generator=generator(1))
    alone = torch.cat([small.to_pictures(one[None]) for one in latents])
    assert torch.allclose(alone, small.to_pictures(latents), atol=1e-5)


def test_the_same_generator_draws_the_same_latents(small: PictureVAE) -> None:
    drawn = [small.sample(6, generator(seed)) for seed in (3, 3, 4)]
    assert drawn[0].shape == (6, 64)
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_truncation_draws_latents_towards_the_mean(small: PictureVAE) -> None:
    whole, half, none = (small.sample(4, generator(3), truncation) for truncation in (1, 0.5, 0))
    assert torch.allclose(half, whole / 2)
    assert not none.any()


def test_whitened_latents_have_mean_0_and_variance_1() -> None:
    torch.manual_seed(0)
    model = PictureVAE(**SMALL, anchors=300)
    code = torch.randn(300, 64) @ torch.randn(64, 64) + 5
    model.whiten(code)
    latents = model._latents(code)
    assert torch.allclose(latents.mean(0), torch.zeros(64), atol=1e-3)
    assert torch.allclose(torch.cov(latents.T), torch.eye(64), atol=1e-2)
    # The first numbers say most.
    assert torch.equal(model.deviation, model.deviation.sort(descending=True).values)


def test_whitening_changes_no_picture() -> None:
    torch.manual_seed(0)
    model = PictureVAE(**SMALL, anchors=70).requires_grad_(False)
    pictures = torch.rand(70, 3, 64, 64)
    before = model.to_pictures(model.to_latents(pictures))
    model.whiten(model.encode(pictures))
    after = model.to_pictures(model.to_latents(pictures))
    assert torch.allclose(before, after, atol=1e-3)


def test_anchors_are_whitened_from_as_many_pictures(small: PictureVAE) -> None:
    with pytest.raises(ValueError, match="4 pictures are given for 5 anchors"):
        small.whiten(torch.zeros(4, 64))


@pytest.mark.parametrize("name", PictureVAE.ARGUMENTS)
@pytest.mark.parametrize("place", [0, 1], ids=["least", "most"])
def test_arguments_out_of_bounds_are_refused(name: str, place: int) -> None:
    wrong = int(PictureVAE.ARGUMENTS[name][place]) + (1 if place else -1)
    with pytest.raises(ValueError, match=f"{name} is {wrong}; allowed are"):
        PictureVAE(**{**SMALL, name: wrong})


@pytest.mark.parametrize(("name", "wrong"), [("latent", 100), ("detail", 9)])
def test_arguments_that_do_not_divide_are_refused(name: str, wrong: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is {wrong}; it must be a multiple"):
        PictureVAE(**{**SMALL, name: wrong})


# What the bundled weights promise, on pictures drawn here: none of them is an emoji it has seen.


@pytest.fixture(scope="module")
def bundled() -> PictureVAE:
    found = stored_network.load(BUNDLED).network
    assert isinstance(found, PictureVAE)
    return found


@pytest.fixture(scope="module")
def drawn() -> Tensor:
    """A winking face, a house, a ball and a jar, [4, 3, 64, 64]."""
    pictures = []
    for draw_on in (draw_face, draw_house, draw_ball, draw_jar):
        # Four times as large, then scaled down: smooth borders.
        large = Image.new("RGB", (256, 256), "white")
        draw_on(ImageDraw.Draw(large))
        pictures.append(np.asarray(large.resize((64, 64), Image.Resampling.LANCZOS)))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255


def draw_face(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((14, 14, 242, 242), "#fbc02d")
    draw.ellipse((70, 84, 102, 124), "#5d4037")
    draw.line((146, 106, 194, 98), "#5d4037", 12)
    draw.arc((74, 100, 182, 200), 20, 160, "#5d4037", 12)


def draw_house(draw: ImageDraw.ImageDraw) -> None:
    draw.rectangle((40, 110, 216, 236), "#ffe0b2")
    draw.polygon(((20, 116), (128, 24), (236, 116)), "#d84315")
    draw.rectangle((108, 160, 148, 236), "#6d4c41")


def draw_ball(draw: ImageDraw.ImageDraw) -> None:
    draw.ellipse((20, 20, 236, 236), "#1e88e5")
    draw.chord((20, 20, 236, 236), 200, 340, "#e53935")
    draw.ellipse((100, 60, 130, 90), "#90caf9")


def draw_jar(draw: ImageDraw.ImageDraw) -> None:
    draw.rounded_rectangle((60, 60, 196, 236), 30, "#8e24aa")
    draw.rectangle((76, 24, 180, 60), "#546e7a")
    draw.rectangle((76, 116, 180, 180), "#f3e5f5")


def test_the_bundled_weights_rebuild_what_they_never_saw(
        bundled: PictureVAE, drawn: Tensor) -> None:
    made = bundled.to_pictures(bundled.to_latents(drawn))
    psnr = -10 * (made - drawn).square().flatten(1).mean(1).log10()
    assert float(psnr.min()) > 20 and float(psnr.mean()) > 23
    strength = [emoji_edges(pictures) for pictures in (made, drawn)]
    assert strength[0] > 0.8 * strength[1]


def emoji_edges(pictures: Tensor) -> float:
    across = pictures[..., :-1, 1:] - pictures[..., :-1, :-1]
    down = pictures[..., 1:, :-1] - pictures[..., :-1, :-1]
    return float((across.square() + down.square()).sqrt().mean())


def test_the_latents_of_drawn_pictures_are_about_as_large_as_a_gaussians(
        bundled: PictureVAE, drawn: Tensor) -> None:
    norms = bundled.to_latents(drawn).norm(dim=1)
    assert 4 < float(norms.min()) and float(norms.max()) < 48


@pytest.mark.parametrize("seed", range(4))
def test_a_walk_between_two_prior_seeds_has_even_steps(bundled: PictureVAE, seed: int) -> None:
    first, last = bundled.sample(2, generator(seed))
    shares = torch.linspace(0, 1, 25)[:, None]
    frames = bundled.to_pictures(first * (1 - shares) + last * shares)
    steps = frames.diff(dim=0).square().flatten(1).mean(1).sqrt()
    assert float(steps.max()) <= 3 * float(steps.median())


def test_prior_samples_differ_and_have_drawings_on_white(bundled: PictureVAE) -> None:
    made = bundled.to_pictures(bundled.sample(8, generator(0)))
    corners = made[:, :, (0, 0, -1, -1), (0, -1, 0, -1)]
    assert float(corners.mean()) > 0.95
    assert torch.pdist(made.flatten(1)).min() > 1
