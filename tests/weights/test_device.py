"""Devices by name: one function resolves them, and refuses those that are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import aehub
from aehub.cli import main
from aehub.training import train
from aehub.weights.device import resolve_device
from material import moving_picture, write_clip

# No machine has so many.
ABSENT = ["cuda:99", "xpu:99", "meta", torch.device("cuda", 99)]
UNKNOWN = ["nonsense", "", "cuda:x", "CUDA", "x" * 300, None, 1.5]


def test_the_processor_is_always_there_and_auto_is_a_device() -> None:
    for name in ("cpu", "cpu:0", torch.device("cpu")):
        assert resolve_device(name) == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    model = aehub.load("d4-codec", device="cpu")
    assert model is aehub.load("d4-codec", device=torch.device("cpu"))


@pytest.mark.parametrize("device", [*ABSENT, *UNKNOWN])
def test_a_device_that_is_not_there_gets_one_sentence_everywhere(device: Any) -> None:
    for name in ("d4-codec", "dense-28"):
        for load in (aehub.load, aehub.Model.from_pretrained):
            with pytest.raises(aehub.InputError, match="the device .* give auto") as caught:
                load(name, device=device)
            assert len(str(caught.value)) < 250
    with pytest.raises(aehub.InputError, match="the device"):
        aehub.compress([np.zeros((32, 32, 3), np.uint8)], "never.aev", device=device)
    with pytest.raises(aehub.InputError, match="the device"):
        aehub.animate("never.gif", seeds=[1, 2], model="dense-28", device=device)


def test_a_model_that_is_given_is_not_taken_to_another_device() -> None:
    model = aehub.load("d4-codec", device="cpu")
    frames = [np.zeros((32, 32, 3), np.uint8)]
    with pytest.raises(aehub.InputError, match="not on this machine"):
        aehub.compress(frames, "never.aev", model=model, device="cuda:99")
    model.device = torch.device("cuda", 1)
    try:
        with pytest.raises(aehub.InputError, match="d4-codec was loaded on cuda:1, not on cpu"):
            aehub.compress(frames, "never.aev", model=model, device="cpu")
    finally:
        model.device = torch.device("cpu")


@pytest.mark.parametrize("command", [
    ["compress", "CLIP", "OUT.aev"], ["decompress", "AEV", "OUT.mkv"],
    ["edit", "AEV", "OUT.aev", "--rotate", "90"], ["animate", "OUT.gif", "--seeds", "1,2"],
    ["train", "dense-28", "--out", "OUT", "--steps", "1"]])
def test_every_command_that_computes_says_so(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(2, 64, 48))
    packed = tmp_path / "clip.aev"
    if "AEV" in command:
        aehub.compress(clip, packed, measure=False)
    places = {"CLIP": clip, "AEV": packed}
    words = [str(places.get(word, tmp_path / word if word.startswith("OUT") else word))
             for word in command]
    for device in ("nonsense", "cuda:99"):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--device", device])
        told = capsys.readouterr().err
        assert ended.value.code == 1 and f"the device '{device}'" in told
        assert "bug" not in told and len(told.strip().splitlines()) == 1


def test_training_says_so(tmp_path: Path) -> None:
    with pytest.raises(aehub.InputError, match="the device 'nonsense' is not known"):
        train("dense-28", data=None, out=tmp_path, steps=1, device="nonsense")


def test_sound_and_measuring_can_be_left_out_and_frames_retimed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_picture(5, 64, 48), audio=True)
    packed = str(tmp_path / "clip.aev")
    main(["compress", str(clip), packed, "--no-audio", "--no-measure", "--device", "cpu"],
         standalone_mode=False)
    plain = capsys.readouterr().out
    assert "audio" not in plain and "PSNR" not in plain
    main(["compress", str(clip), packed, "--fps", "30000/1001", "--force", "--json"],
         standalone_mode=False)
    assert '"fps": "30000/1001"' in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["compress", str(clip), packed, "--fps", "fast", "--force"])
    assert ended.value.code == 1
