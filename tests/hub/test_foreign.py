"""Autoencoders of other libraries: served, fetched, used for files that name them by their hash."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save, save_file

import aehub
from aehub.codecs.quantised import diffusers_classes, record
from aehub.errors import InputError, WeightsError
from foreign_models import ARGUMENTS, random_model, random_taesd, save_folder
from hub.conftest import Client, serving
from hub.standin import Repo, StandIn
from material import moving_picture, write_clip

needs_diffusers = pytest.mark.skipif(
    find_spec("diffusers") is None, reason="the extra aehub[diffusers] is not installed")
WEIGHTS = "diffusion_pytorch_model.safetensors"

# Every model: fetched by name, a file made and read back, compared with the model's own decoding.
USE = """
import io, json, sys, numpy as np, aehub
from aehub.bitstream import Reader
results = {}
for name in sys.argv[2:]:
    folder = aehub.download(f"aehub/{name}", endpoint=sys.argv[1])
    model = aehub.load(folder, device="cpu")
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 5, 3), np.uint8)
    frames = noise.repeat(6, 1).repeat(8, 2)[:, :27, :33]
    file = io.BytesIO()
    made = aehub.compress(frames, file, model=model, fps=25, quality=60)
    data = file.getvalue()
    decoded = np.stack(list(aehub.decompress(io.BytesIO(data))))
    reader = Reader(io.BytesIO(data))
    own = np.concatenate([np.stack(model.decode(model.latents(reader.header, group)))
                          for group in reader.groups()])
    results[name] = [decoded.shape == frames.shape, int(abs(own.astype(int) - decoded).max()),
                     made.bytes]
print(json.dumps(results))
"""


def test_the_record_names_the_classes_that_there_are_rules_for() -> None:
    assert set(record.CLASSES) == diffusers_classes.CLASSES.keys()


@needs_diffusers
@pytest.mark.slow
def test_a_served_autoencoder_is_fetched_and_makes_files_that_decode_as_it_does(
    python: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "serve").mkdir()
    options = [part for name in ARGUMENTS
               for part in ("--model", save_folder(name, tmp_path / name))]
    with serving(tmp_path / "serve", *options) as address:
        found = python(USE, address, *ARGUMENTS)
    assert found.keys() == {*ARGUMENTS}
    assert {name: facts[:2] for name, facts in found.items()
            if facts[:2] != [True, 0]} == {}, "shapes and levels differ"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A short clip of 40x30."""
    path = tmp_path / "clip.mkv"
    write_clip(path, moving_picture(3, 40, 30), fps=Fraction(25))
    return path


@pytest.fixture
def taesd(tmp_path: Path) -> Path:
    """A random autoencoder of the TAESD family in the layout of its author."""
    folder = tmp_path / "tiny-taesd"
    folder.mkdir()
    tensors = random_taesd()
    for half in ("encoder", "decoder"):
        save_file({name.removeprefix(f"{half}."): tensor for name, tensor in tensors.items()
                   if name.startswith(half)}, folder / f"taesd_{half}.safetensors")
    return folder


@pytest.mark.slow
def test_a_file_finds_the_folder_of_its_model_again_and_refuses_another(
    aehub_command: Client, clip: Path, taesd: Path, tmp_path: Path
) -> None:
    done = aehub_command("compress", clip, "clip.aev", "--model", taesd, "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.out)["model"] == "tiny-taesd"
    assert "tiny-taesd takes about" in done.stderr and "for pictures of 40x30" in done.stderr
    assert aehub_command("decompress", "clip.aev", "back").code == 0
    moved = taesd.rename(tmp_path / "moved")
    text = aehub_command("decompress", "clip.aev", "again").sentence
    assert "'tiny-taesd'" in text and "--model" in text
    assert aehub_command("decompress", "clip.aev", "again", "--model", moved).code == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "again").iterdir())] == [
        path.read_bytes() for path in sorted((tmp_path / "back").iterdir())]
    save_file(random_taesd(seed=1), tmp_path / "model.safetensors")
    (tmp_path / "other").mkdir()
    (tmp_path / "model.safetensors").rename(tmp_path / "other/model.safetensors")
    text = aehub_command("decompress", "clip.aev", "x.mkv", "--model", tmp_path / "other").sentence
    assert "was written with" in text


def test_latents_are_taken_out_and_put_in(taesd: Path, tmp_path: Path) -> None:
    model = aehub.load(taesd, device="cpu")
    frames = np.stack(moving_picture(5, 43, 30))
    aehub.compress(frames, tmp_path / "a.aev", model=model, quality=80, fps=Fraction(24))
    with aehub.open(tmp_path / "a.aev", model=model) as archive:
        (group,) = archive.latents()
    assert [part.shape for part in group.values] == [(1, 4, 4, 6)] * 5
    assert aehub.save_latents(tmp_path / "a.aev", tmp_path / "a.safetensors", model=model) == 5
    aehub.compress_latents(tmp_path / "a.safetensors", tmp_path / "b.aev", model=model, quality=95)
    with aehub.open(tmp_path / "b.aev", model=model) as archive:
        (again,) = archive.latents()
        assert archive.info.fps == 24 and archive[:].shape == frames.shape
    for before, after in zip(group.values, again.values, strict=True):
        assert 0 < np.abs(before - after).max() < 0.1
    with pytest.raises(InputError, match="d4-codec codes no latents"):
        aehub.compress_latents(tmp_path / "a.safetensors", tmp_path / "c.aev", model="d4-codec")


def test_a_walk_goes_through_the_latents_of_an_image_autoencoder(
    taesd: Path, tmp_path: Path
) -> None:
    pictures = moving_picture(2, 40, 32)
    made = aehub.animate(tmp_path / "walk.gif", model=taesd, keyframes=pictures, seconds=1, fps=5)
    assert (made.frames, made.width, made.height) == (5, 40, 32)


def test_a_cached_model_is_found_by_the_hashes_of_a_file(
    hub: StandIn, aehub_command: Client, clip: Path, taesd: Path
) -> None:
    hub.put("lab/tiny-taesd", taesd)
    done = aehub_command("compress", clip, "clip.aev", "--model", "lab/tiny-taesd",
                         HF_ENDPOINT=hub.url)
    assert done.code == 0, done.stderr
    hub.asked.clear()
    assert aehub_command("decompress", "clip.aev", "back.mkv").code == 0 and not hub.asked
    listed = aehub_command("models", "--json")
    entry = next(one for one in json.loads(listed.out)["models"] if one["name"] == "lab/tiny-taesd")
    assert (entry["state"], entry["task"]) == ("cached", "video-compression")
    assert entry["parameters"] == sum(t.numel() for t in random_taesd().values())


@pytest.mark.slow
@needs_diffusers
def test_the_autoencoder_of_a_pipeline_and_of_shards_is_found(
    hub: StandIn, aehub_command: Client, clip: Path
) -> None:
    config, tensors = random_model("AutoencoderKL")
    names = sorted(tensors)
    shards = {f"vae/diffusion_pytorch_model-{at:05}-of-00002.safetensors":
              save({name: tensors[name] for name in names[at - 1::2]}) for at in (1, 2)}
    files = {"model_index.json": b"{}", "unet/config.json": b"{}",
             "vae/config.json": json.dumps(config).encode(), **shards,
             "vae/diffusion_pytorch_model.safetensors.index.json": b"{}"}
    hub.repos["lab/pipeline"] = Repo()
    hub.repos["lab/pipeline"].add(files)
    done = aehub_command("compress", clip, "clip.aev", "--model", "lab/pipeline", "--json",
                         HF_ENDPOINT=hub.url)
    assert done.code == 0, done.stderr
    assert json.loads(done.out)["model"] == "pipeline"
    assert not any("unet" in line for line in hub.asked)
    assert aehub_command("decompress", "clip.aev", "back.mkv").code == 0
    del files["vae/diffusion_pytorch_model-00002-of-00002.safetensors"]
    hub.repos["lab/short"] = Repo()
    hub.repos["lab/short"].add(files)
    text = aehub_command("download", "lab/short", "--endpoint", hub.url).sentence
    assert "shard" in text and "00002-of-00002" in text


def hostile(name: str) -> dict[str, bytes]:
    """Files of a repository that cannot be used."""
    config, tensors = random_model("AutoencoderKL")
    weights = save(tensors)
    described = json.dumps(config).encode()
    if name == "pickle":
        return {"config.json": described, "diffusion_pytorch_model.bin": b"\x80\x04."}
    if name == "class":
        return {"config.json": json.dumps({**config, "_class_name": "UNet2DModel"}).encode(),
                WEIGHTS: weights}
    if name == "huge":
        return {"config.json": json.dumps({**config, "block_out_channels": [1 << 20] * 2}).encode(),
                WEIGHTS: weights}
    if name == "shape":
        wrong = {**tensors, "encoder.conv_in.weight": tensors["encoder.conv_in.weight"][:1]}
        return {"config.json": described, WEIGHTS: save(wrong)}
    return {"config.json": described, WEIGHTS: weights[:100]}


@needs_diffusers
@pytest.mark.parametrize(("name", "said"), [
    ("pickle", "is a pickle, which is never loaded"), ("class", "'UNet2DModel' of diffusers"),
    ("cut", "is not a safetensors file")])
def test_what_cannot_be_fetched_gets_one_sentence(
    hub: StandIn, aehub_command: Client, name: str, said: str
) -> None:
    hub.repos["lab/model"] = Repo()
    hub.repos["lab/model"].add(hostile(name))
    assert said in aehub_command("download", "lab/model", "--endpoint", hub.url).sentence
    if name == "class":
        assert not any(WEIGHTS in line for line in hub.asked), "weights were fetched in vain"


@needs_diffusers
@pytest.mark.parametrize(("name", "said"), [
    ("huge", "they are of another model"), ("shape", "'encoder.conv_in.weight'")])
def test_what_does_not_fit_its_config_gets_one_sentence(
    tmp_path: Path, name: str, said: str
) -> None:
    for file, data in hostile(name).items():
        (tmp_path / file).write_bytes(data)
    with pytest.raises(WeightsError, match=said):
        aehub.load(tmp_path)
