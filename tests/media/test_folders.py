"""Real folders: hidden files, mixed formats, clips among pictures, broken files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aehub
from aehub.errors import InputError
from aehub.media.clip import open_clip
from aehub.media.file_type import iter_media_files, list_folder
from aehub.training.data import Cache, FrameStore
from aehub.training.pictures import PictureSet
from material import moving_picture, write_clip

PICTURES = moving_picture(4, 64, 48, seed=7)
CLUTTER = ("._a1.png", "._clip.mp4", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.mov")


def clutter(folder: Path) -> None:
    """Files that file managers leave: AppleDouble headers under names of clips and pictures."""
    for name in CLUTTER:
        (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(60))


def test_a_folder_of_pictures_of_any_format_is_read_and_other_files_noted(
    tmp_path: Path,
) -> None:
    images = [Image.fromarray(picture) for picture in PICTURES]
    images[0].save(tmp_path / "a1.png")
    images[1].save(tmp_path / "a2.avif")
    images[2].save(tmp_path / "a3.jfif", "JPEG")
    images[3].save(tmp_path / "a4.jp2")
    pages = [Image.fromarray(picture) for picture in PICTURES[2:]]
    pages[1].save(tmp_path / "a4b.tif", save_all=True, append_images=pages[:1])
    images[0].save(tmp_path / "a5.mpo", "JPEG")
    images[1].save(tmp_path / "a6.gif")
    # The bytes decide, whatever the name.
    images[2].save(tmp_path / "a7.dat", "PNG")
    clutter(tmp_path)
    (tmp_path / "words.txt").write_text("no picture")
    (tmp_path / "more").mkdir()
    (tmp_path / "a8.png").write_bytes((tmp_path / "a1.png").read_bytes()[:200])
    (tmp_path / "a9.jxl").write_bytes(b"\xff\x0a nothing that is read here")
    with open_clip(tmp_path) as clip:
        frames = list(clip)
        notes = clip.info.notes
    assert [frame.time for frame in frames] == list(range(8))
    assert "a4b.tif holds 2 pictures; the first was taken." in notes
    assert notes[0] == "Left out, for they are no pictures: more/, words.txt."
    shown_frames = [note for note in notes if "was left out" in note]
    assert [note.split()[0] for note in shown_frames] == ["a8.png", "a9.jxl"]
    assert not any(name in note for note in notes for name in CLUTTER)


def test_a_folder_of_clips_is_distinguished_from_one_of_pictures(tmp_path: Path) -> None:
    images = [Image.fromarray(picture) for picture in PICTURES]
    folders = {name: tmp_path / name for name in ("gifs", "films", "both", "broken", "hidden")}
    for folder in folders.values():
        folder.mkdir()
    for name in ("1.gif", "2.webp", "3.png"):
        images[0].save(folders["gifs"] / name, save_all=True, append_images=images[1:])
    film = write_clip(tmp_path / "film.mp4", PICTURES)
    for name in ("x.m4v", "y.ts", "z"):
        shutil.copy(film, folders["films"] / name)
    write_clip(folders["films"] / "y.ts", PICTURES)
    shutil.copy(film, folders["both"] / "x.mp4")
    images[0].save(folders["both"] / "x.png")
    (folders["broken"] / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    clutter(folders["hidden"])
    words = {
        "gifs": r"The folder gifs holds 3 clips \(1.gif, 2.webp, 3.png\); give one clip at a time",
        "films": r"The folder films holds 3 clips \(x.m4v, y.ts, z\)",
        "both": r"The folder both holds 1 picture and 1 clip \(x.mp4\)",
        "broken": "No picture in the folder broken can be read: x.png is cut off",
        "hidden": "The folder hidden holds no pictures",
    }
    for name, folder in folders.items():
        with pytest.raises(InputError, match=words[name]):
            open_clip(folder)


def test_one_unreadable_file_does_not_stop_a_comparison(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip2.m4v", PICTURES[:2])
    write_clip(tmp_path / "clip10.ts", PICTURES[:2])
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(40))
    clutter(tmp_path)
    Image.fromarray(PICTURES[0]).save(tmp_path / "cover.png")
    (tmp_path / "words.txt").write_text("no clip")
    found = aehub.compare([tmp_path], "x264-ultrafast", frames=1)
    assert [clip.name for clip in found.clips] == ["clip2", "clip10"]
    assert found.notes == (
        f"Left out of {tmp_path.name}, for they are no clips: cover.png, words.txt.",)
    assert len(found.failures) == 1 and "broken" in str(found.failures[0])


def test_training_data_skips_hidden_files_and_names_unreadable_ones(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep" / ".git").mkdir(parents=True)
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(data / "deep" / f"thing {number}.jp2")
    Image.fromarray(PICTURES[0]).save(data / "deep" / ".git" / "x.png")
    write_clip(data / "film.m4v", PICTURES[:2])
    clutter(data)
    (data / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    store = FrameStore.build(data, Cache(tmp_path))
    assert {clip.name for clip in store.clips} == {
        "film.m4v", *(f"deep/thing {number}.jp2" for number in range(4))}
    assert [note.split()[0] for note in store.notes] == ["broken.png"]
    assert FrameStore(tmp_path / store.name).notes == store.notes
    # Deep samples and orientation as everywhere.
    deep = (PICTURES[1][..., 0].astype(np.uint16)) * 257
    Image.fromarray(deep).save(data / "deep" / "grey.png")
    pictures = PictureSet.open(data)
    assert [note.split()[0] for note in pictures.notes] == ["broken.png"]
    kept = [*pictures.training, *pictures.validation, *pictures.test]
    assert len(kept) >= 1 and max(int(p.mean()) for p in kept) < 250
    assert len(list(iter_media_files(data))) == 7 and list_folder(data).others == [data / "deep"]
