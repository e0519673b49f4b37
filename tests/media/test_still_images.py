"""Pictures of every format: orientation, pages, deep samples, broken metadata."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from aehub.animation.keyframes import read_picture
from aehub.errors import InputError, LimitError
from aehub.media.clip import open_clip
from aehub.media.colour import to_rgb
from material import psnr

RED, BLUE = (250, 40, 20), (20, 60, 230)


def marked() -> np.ndarray:
    """A picture, uint8 [48, 64, 3], that differs in all eight orientations."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:16, :32], picture[40:, 8:24] = RED, BLUE
    return picture


def shown(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(the only frame of a clip in RGB, notes)."""
    with open_clip(path) as clip:
        (frame,) = clip
        return to_rgb(frame.picture, clip.info.colour), clip.info.notes


def is_like(picture: np.ndarray, expected: np.ndarray) -> bool:
    return picture.shape == expected.shape and psnr(picture, expected) > 27


def turned(orientation: int) -> np.ndarray:
    exif = Image.Exif()
    exif[0x112] = orientation
    file = io.BytesIO()
    Image.fromarray(marked()).save(file, "PNG", exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(file)))


def riff_with_named_exif(data: bytes) -> bytes:
    """A WebP whose EXIF begins with its own name, as some cameras write it."""
    at = data.index(b"EXIF")
    size = int.from_bytes(data[at + 4 : at + 8], "little")
    body = b"Exif\0\0" + data[at + 8 : at + 8 + size]
    chunk = b"EXIF" + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
    whole = data[:at] + chunk + data[at + 8 + size + size % 2 :]
    return whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_of_every_format_are_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    image, upright = Image.fromarray(marked()), turned(orientation)
    twice = {"save_all": True, "append_images": [image.rotate(180)], "duration": 100}
    image.save(tmp_path / "plain.tif", tiffinfo={0x112: orientation})
    image.save(tmp_path / "lzw.tif", tiffinfo={0x112: orientation}, compression="tiff_lzw")
    image.save(tmp_path / "pages.tif", tiffinfo={0x112: orientation}, save_all=True,
               append_images=[image])
    image.save(tmp_path / "still.webp", lossless=True, exif=exif)
    named = tmp_path / "named.webp"
    named.write_bytes(riff_with_named_exif((tmp_path / "still.webp").read_bytes()))
    image.save(tmp_path / "moving.webp", lossless=True, exif=exif, **twice)
    image.save(tmp_path / "moving.png", exif=exif, **twice)
    image.save(tmp_path / "photo.avif", quality=95, exif=exif)
    for path in sorted(tmp_path.iterdir()):
        with open_clip(path) as clip:
            first = to_rgb(next(iter(clip)).picture, clip.info.colour)
        assert (clip.info.height, clip.info.width) == upright.shape[:2], path.name
        assert is_like(first, upright), path.name
        assert is_like(read_picture(path)[..., :3], upright), path.name


def jpeg(picture: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def test_a_photograph_is_one_picture_whatever_follows_it(tmp_path: Path) -> None:
    small = marked()[::2, ::2].copy()
    film = (Path(__file__).parents[1] / "golden" / "steady.aev").read_bytes()
    ends = {
        "gain.jpg": jpeg(small), "view.jpg": jpeg(marked()[::-1].copy()),
        "cut.jpg": jpeg(small)[:300], "zeros.jpg": bytes(5000),
        "film.jpg": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + film,
    }
    for name, rest in ends.items():
        (tmp_path / name).write_bytes(jpeg(marked()) + rest)
    Image.fromarray(marked()).save(
        tmp_path / "two.mpo", "MPO", save_all=True, append_images=[Image.fromarray(small)],
        quality=95)
    for path in sorted(tmp_path.iterdir()):
        picture, notes = shown(path)
        assert is_like(picture, marked()) and notes == (), path.name
        assert is_like(read_picture(path), marked()), path.name


def grey_pages() -> list[Image.Image]:
    return [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in (30, 90, 200)]


def test_pages_of_one_size_are_frames(tmp_path: Path) -> None:
    pages = grey_pages()
    pages[0].save(tmp_path / "even.tif", save_all=True, append_images=pages[1:])
    with open_clip(tmp_path / "even.tif") as clip:
        assert clip.info.n_frames == 3 and clip.info.notes == ()
        levels = [to_rgb(frame.picture, clip.info.colour).mean() for frame in clip]
    assert np.abs(np.array(levels) - (30, 90, 200)).max() <= 1
    # Pages of different kinds, with and without a palette.
    kinds = [pages[2].convert("P"), pages[1].convert("RGBA"), pages[0].convert("L")]
    pages[0].save(tmp_path / "kinds.tif", save_all=True, append_images=kinds)
    with open_clip(tmp_path / "kinds.tif") as clip:
        levels = [to_rgb(frame.picture, clip.info.colour).mean() for frame in clip]
    assert np.abs(np.array(levels) - (30, 200, 90, 30)).max() <= 8


def test_one_of_several_other_pages_is_taken_with_a_note(tmp_path: Path) -> None:
    pages = grey_pages()
    uneven = [pages[1].resize((32, 24)), pages[2]]
    pages[0].save(tmp_path / "uneven.tif", save_all=True, append_images=uneven)
    picture, notes = shown(tmp_path / "uneven.tif")
    assert abs(picture.mean() - 30) <= 1
    assert notes == ("The file holds 3 pages of different sizes; the first was taken.",)
    # A smaller copy of the page is no page.
    reduced = pages[1].resize((32, 24))
    reduced.encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "pyramid.tif", save_all=True, append_images=[reduced])
    assert shown(tmp_path / "pyramid.tif")[1] == ()
    pages[0].save(tmp_path / "preview.tif", tiffinfo={254: 1})
    assert shown(tmp_path / "preview.tif")[1] == (
        "Only a smaller copy of the picture could be read.",)
    pages[2].resize((64, 64)).save(tmp_path / "icon.ico", sizes=[(16, 16), (64, 64)])
    picture, notes = shown(tmp_path / "icon.ico")
    assert picture.shape == (64, 64, 3) and "The largest of 2 pictures" in notes[0]


def test_a_page_list_that_leads_out_of_the_file_gives_its_first_page(tmp_path: Path) -> None:
    pages = grey_pages()
    pages[0].save(tmp_path / "even.tif", save_all=True, append_images=pages[1:])
    broken = bytearray((tmp_path / "even.tif").read_bytes())
    with Image.open(tmp_path / "even.tif") as image:
        begin = image.tag_v2._offset
    n_tags = int.from_bytes(broken[begin : begin + 2], "little")
    at = begin + 2 + 12 * n_tags
    broken[at : at + 4] = (len(broken) + 77).to_bytes(4, "little")
    (tmp_path / "broken.tif").write_bytes(broken)
    assert abs(shown(tmp_path / "broken.tif")[0].mean() - 30) <= 1


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def deep_png(rgb: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB."""
    height, width, _ = rgb.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rgb)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def lab(image: Image.Image) -> Image.Image:
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    found = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    assert found is not None
    return found


Y, X = np.mgrid[:48, :64]
GREY = (X * 3 + Y).astype(np.uint16)
SMOOTH = np.stack([X * 3, Y * 4, 255 - X * 3], axis=2).astype(np.uint8)


def test_keyframes_read_pictures_as_compress_does(tmp_path: Path) -> None:
    image, expected = Image.fromarray(SMOOTH), {}

    def put(name: str, picture: Image.Image, right: np.ndarray, **options: object) -> None:
        picture.save(tmp_path / name, **options)
        expected[name] = right

    thrice = np.repeat(GREY[..., None], 3, axis=2).astype(np.uint8)
    put("grey16.png", Image.fromarray(GREY * 257), thrice)
    put("grey16.tif", Image.fromarray(GREY * 257), thrice)
    put("motorola.tif", Image.fromarray((GREY * 257).astype(">u2")), thrice)
    put("print.tif", image.convert("CMYK"), SMOOTH)
    put("print.jpg", image.convert("CMYK"), SMOOTH, quality=98)
    put("lab.tif", lab(image), SMOOTH)
    put("palette.png", image.quantize(256), np.asarray(image.quantize(256).convert("RGB")))
    put("bits.png", image.convert("1", dither=Image.Dither.NONE),
        np.asarray(image.convert("1", dither=Image.Dither.NONE).convert("RGB")))
    put("small.jp2", image, SMOOTH)
    put("small.qoi", image, SMOOTH)
    (tmp_path / "rgb16.png").write_bytes(deep_png(SMOOTH.astype(np.uint16) * 257))
    expected["rgb16.png"] = SMOOTH
    for name, right in expected.items():
        picture, notes = shown(tmp_path / name)
        assert is_like(picture, right), name
        assert np.abs(read_picture(tmp_path / name).astype(int) - right).mean() < 2.5, name
        assert ("16-bit samples were rounded to 8 bits." in notes) == (
            "16" in name or name == "motorola.tif"), name


def test_a_keyframe_keeps_its_transparency(tmp_path: Path) -> None:
    clear = np.dstack([SMOOTH, np.where(X < 32, 0, 255).astype(np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert np.array_equal(read_picture(tmp_path / "clear.png"), clear)


def test_pictures_of_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    for read in (shown, read_picture):
        with pytest.raises(InputError, match="float.tif has samples of 32 bits"):
            read(tmp_path / "float.tif")


def _raw_profile(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 20\nno hexadecimal digits")
    Image.fromarray(marked()).save(path, pnginfo=info)


def _text_bomb(path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "0" * 2_000_000, zip=True)
    Image.fromarray(marked()).save(path, pnginfo=info)


def _png_with(extra: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        file = io.BytesIO()
        Image.fromarray(marked()).save(file, "PNG")
        path.write_bytes(file.getvalue()[:33] + extra + file.getvalue()[33:])

    return write


def _with_exif(**options: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x87\x69\0\x04\0\0\0\1\xff\xff\xff\xf0" * 9
        Image.fromarray(marked()).save(path, exif=broken, icc_profile=b"no profile" * 20, **options)

    return write


def _not_exif(**options: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        Image.fromarray(marked()).save(path, exif=b"Exif\0\0 no TIFF", **options)

    return write


def _tiff_tags(path: Path) -> None:
    tags = {34665: 0xFFFFFF0, 34853: 7, 270: "text", 700: b"<x:xmpmeta", 34675: b"none"}
    Image.fromarray(marked()).save(path, tiffinfo=tags)


def _photoshop(path: Path) -> None:
    body = b"Photoshop 3.0\x008BIM\x03\xed\0\0\xff\xff\xff\xff"
    photo = jpeg(marked())
    marker = b"\xff\xed" + (len(body) + 2).to_bytes(2, "big") + body
    path.write_bytes(photo[:2] + marker + b"\xff\xee\0\x08Adobe\0" + photo[2:])


BROKEN = {
    "raw_profile.png": _raw_profile,
    "text_bomb.png": _text_bomb,
    "wrong_sum.png": _png_with(chunk(b"tEXt", b"Title\0words")[:-4] + b"\0\0\0\0"),
    "profile.png": _png_with(chunk(b"iCCP", b"name\0\x07none")),
    "empty.png": _png_with(chunk(b"iCCP", b"") + chunk(b"pHYs", b"\0") + chunk(b"zTXt", b"")),
    "scale.png": _png_with(chunk(b"sRGB", b"") + chunk(b"gAMA", b"\0") + chunk(b"cHRM", b"12345")),
    "exif.png": _with_exif(),
    "exif.jpg": _with_exif(quality=95),
    "exif.webp": _with_exif(lossless=True),
    "moving.png": _with_exif(save_all=True, append_images=[Image.fromarray(marked()[::-1])]),
    "not_exif.png": _not_exif(),
    "not_exif.webp": _not_exif(lossless=True),
    "moving.webp": _not_exif(lossless=True, save_all=True,
                             append_images=[Image.fromarray(marked()[::-1])]),
    "tags.tif": _tiff_tags,
    "photoshop.jpg": _photoshop,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_metadata_is_ignored(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BROKEN[name](path)
    with open_clip(path) as clip:
        first = to_rgb(next(iter(clip)).picture, clip.info.colour)
    assert is_like(first, marked())
    assert is_like(read_picture(path)[..., :3], marked())


def test_a_picture_too_large_is_refused_without_a_warning(tmp_path: Path) -> None:
    for side in (12_000, 60_000):
        path = tmp_path / f"{side}.png"
        head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                         + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b""))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for read in (open_clip, read_picture):
                with pytest.raises(LimitError, match="(?s)67108864.*Make it smaller"):
                    read(path)
        assert not caught
