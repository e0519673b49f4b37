"""Rate on screen content and flat graphics, and the share of the first picture.

    python docs/measure/screen.py [--model NAME] [--clips scroll,pointer,titles,camera]

Four clips of 60 frames, 480x288, are drawn here: a page of text that is scrolled, a pointer over
the same page, a title sequence of flat shapes and letters, and a photograph under a fixed camera
with sensor noise and one moving object. For each: the rate against x264 medium at equal PSNR, the
rate of the first picture alone against x264 of that picture alone, and at quality 50 the bytes of
the whole file and the share of its first picture.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aehub.measure.benchmark import measure
from aehub.measure.model_codec import ModelCodec
from aehub.measure.points import SourceClip
from aehub.measure.video_codecs import x264
from aehub.media.clip import open_clip
from aehub.media.metrics import bd_rate

WIDTH, HEIGHT, FRAMES, FPS = 480, 288, 60, 30
QUALITIES = (35, 50, 65)
_ROOT = Path(__file__).resolve().parents[2]


def _ease(t: float) -> float:
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)


def _page(height: int) -> Image.Image:
    """A page of text with headings, a shaded block and rules, from the project's README."""
    page = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(page)
    small, large = ImageFont.load_default(11), ImageFont.load_default(18)
    y = 12
    for line in (_ROOT / "README.md").read_text().splitlines()[22:]:
        if line.startswith("#"):
            draw.text((16, y + 6), line.strip("# "), fill=(20, 40, 90), font=large)
            y += 34
        for part in [] if line.startswith("#") else textwrap.wrap(line, 76):
            if line.startswith("|"):
                draw.rectangle((12, y - 2, WIDTH - 12, y + 13), fill=(236, 240, 246))
            draw.text((16, y), part, fill=(30, 30, 30), font=small)
            y += 16
        y += 6
        if y > height:
            break
    return page


def _framed(view: Image.Image, pointer: tuple[float, float]) -> np.ndarray:
    """A view of the page under a fixed title bar, with a pointer over it."""
    draw = ImageDraw.Draw(view)
    draw.rectangle((0, 0, WIDTH, 26), fill=(54, 60, 74))
    draw.text((40, 6), "README - reader", fill="white", font=ImageFont.load_default(12))
    for n, colour in enumerate(((236, 95, 88), (245, 190, 79), (98, 197, 84))):
        draw.ellipse((8 + 10 * n, 9, 15 + 10 * n, 16), fill=colour)
    x, y = round(pointer[0]), round(pointer[1])
    draw.polygon([(x, y), (x, y + 16), (x + 4, y + 12), (x + 11, y + 11)], fill="black",
                 outline="white")
    return np.asarray(view)


def scroll() -> Iterator[np.ndarray]:
    """Three scrolls of a mouse wheel, each 120 samples in 12 frames, with rests between."""
    page = _page(HEIGHT + 400)
    for t in range(FRAMES):
        down = round(sum(120 * _ease((t - begin) / 12) for begin in (4, 22, 42)))
        yield _framed(page.crop((0, down, WIDTH, down + HEIGHT)), (300, 150))


def pointer() -> Iterator[np.ndarray]:
    """A pointer that crosses the page, rests and returns."""
    page = _page(HEIGHT)
    for t in range(FRAMES):
        s = _ease(t / 24) - 0.6 * _ease((t - 34) / 20)
        yield _framed(page.copy(), (40 + 340 * s, 230 - 170 * s))


def titles() -> Iterator[np.ndarray]:
    """Bars that slide over a graded ground, letters that fade in, a disc that grows."""
    ground = np.linspace((24, 32, 70), (70, 40, 110), HEIGHT)[:, None]
    ground = np.broadcast_to(ground, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    font = ImageFont.load_default(44)
    for t in range(FRAMES):
        frame = Image.fromarray(ground).resize((2 * WIDTH, 2 * HEIGHT))
        draw = ImageDraw.Draw(frame)
        for n, colour in enumerate(((250, 180, 60), (90, 200, 190), (230, 90, 110))):
            right = 2 * (WIDTH + 40) * _ease((t - 4 * n) / 26) - 80
            draw.rectangle((right - 360, 120 + 130 * n, right, 180 + 130 * n), fill=colour)
        r = 130 * _ease((t - 20) / 30)
        draw.ellipse((700 - r, 290 - r, 700 + r, 290 + r), fill=(245, 245, 250))
        frame = frame.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        words, shown = Image.new("L", frame.size), round(255 * _ease((t - 26) / 20))
        ImageDraw.Draw(words).text((40, 120), "Autoencoders", fill=shown, font=font)
        frame.paste((255, 255, 255), mask=words)
        yield np.asarray(frame)


def camera() -> Iterator[np.ndarray]:
    """A photograph with noise of one grey level and a ball that rolls through it."""
    from skimage import data

    scene = Image.fromarray(data.coffee()).resize((WIDTH, 320)).crop((0, 16, WIDTH, 16 + HEIGHT))
    random = np.random.default_rng(0)
    for t in range(FRAMES):
        frame = scene.copy()
        x = 30 + 7 * t
        ImageDraw.Draw(frame).ellipse((x - 18, 220 - 18, x + 18, 220 + 18), fill=(200, 60, 50))
        noise = random.normal(0, 1, (HEIGHT, WIDTH, 1))
        yield np.clip(np.asarray(frame) + noise, 0, 255).round().astype(np.uint8)


CLIPS: dict[str, Callable[[], Iterator[np.ndarray]]] = {
    "scroll": scroll, "pointer": pointer, "titles": titles, "camera": camera,
}


def source_named(name: str) -> SourceClip:
    """The clip of that name in memory."""
    with open_clip(CLIPS[name](), fps=FPS) as clip:
        return SourceClip(name, [frame.picture for frame in clip], clip.info)


def difference(source: SourceClip, model: str) -> tuple[float | None, int]:
    """Percent of rate against x264 medium at equal PSNR, and bytes at quality 50."""
    codecs = [x264("medium"), ModelCodec(model, QUALITIES)]
    points = list(measure(source, codecs))
    curves = [[(p.bytes, p.psnr) for p in points if p.codec == codec.name] for codec in codecs]
    (n_bytes,) = (p.bytes for p in points if p.codec == model and p.quality == 50)
    return bd_rate(*curves).percent, n_bytes


def main() -> None:
    """Print one row for each clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="d4-codec")
    parser.add_argument("--clips", default=",".join(CLIPS))
    arguments = parser.parse_args()
    print("| clip | rate against x264 medium | first picture alone | bytes | first picture |")
    print("|---|---|---|---|---|")
    for name in arguments.clips.split(","):
        source = source_named(name)
        (whole, size), (first, part) = (
            difference(SourceClip(name, frames, source.info), arguments.model)
            for frames in (source.frames, source.frames[:1]))
        print(f"| {name} | {whole:+.1f} % | {first:+.1f} % | {size} | {100 * part / size:.0f} % |",
              flush=True)


if __name__ == "__main__":
    main()
