"""Films and queries of the measurement of retrieval, made from a folder of snippets.

A film is joined from snippets of different sources, 640x360 at 30 frames a second, compressed by
x264 at crf 23. A query is 0.8 to 1 s of a snippet's own file (less where the snippet is shorter),
or one frame of it, changed by one of `CHANGES`. Both show the largest 16:9 part of the middle of
the snippet's picture, so that no query is cropped but those that say so; the snippet's own frame
rate sets its speed. Of each source that queries are taken from, one snippet is in the library: no
other film shows the same scene. A third of these sources is left out of the library: their queries
must find nothing.

Every query has a seed of its own, of its snippet and change, so one more change alters no other.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from aehub.training.data import is_held_out, recording_of

SIZE = 640, 360
FPS = 30
FILM_SECONDS = 20, 60
HELD_OUT, CALIBRATION = 0.25, 0.125
"""Shares of the sources: those that training never saw; the part of these for calibration."""
LEFT_OUT = 1 / 3
QUERY_SECONDS = 0.8, 1.0
EVAL_SECONDS = 2.0
"""Of a longer clip at most: its middle."""
QUALITY = {"crf": "12", "preset": "veryfast"}
"""Of x264, for queries whose change is not the compression."""
_ASPECT = SIZE[0] / SIZE[1]

_SAME_SCENE = {"generative-dyn_1096929575-loop-28": "generative-dyn_tree-1-loop"}
"""Sources that show the scene of another one, by its name, as a look at both tells."""

Frames = list[np.ndarray]
"""uint8 [H, W, 3] each."""

TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda a: a,
    "--rotate 90": lambda a: np.rot90(a, -1),
    "--rotate 180": lambda a: np.rot90(a, 2),
    "--rotate 270": lambda a: np.rot90(a, 1),
    "--flip horizontal": lambda a: a[:, ::-1],
    "--flip vertical": lambda a: a[::-1],
    "--transpose": lambda a: a.swapaxes(0, 1),
    "--transpose --rotate 180": lambda a: np.rot90(a.swapaxes(0, 1), 2),
}
"""The eight orientations by the flags of `aehub edit`, in NumPy's terms."""


@dataclass(frozen=True)
class Snippet:
    """Frames of one source, between the first and the last frame of a clip."""

    path: str
    source: str
    kind: str
    """`query` or `distractor`."""
    first: int
    n_frames: int
    fps: str

    @property
    def seconds(self) -> float:
        return self.n_frames / Fraction(self.fps)


@dataclass(frozen=True)
class Placed:
    """A snippet in a film, from `start` seconds on."""

    snippet: Snippet
    film: str
    start: float


@dataclass(frozen=True)
class Query:
    """A query and the right answer; `film` is empty where nothing is right.

    `start` to `end` is the query in the film, `shown` the whole snippet there.
    """

    path: str
    source: str
    change: str
    film: str
    start: float
    end: float
    shown: tuple[float, float]
    orientation: str


@dataclass(frozen=True)
class Library:
    """Films, what they are joined from, and the queries."""

    films: list[str]
    placed: list[Placed]
    queries: list[Query]
    seconds: float


# --- changes -------------------------------------------------------------------------------------

Change = Callable[[Frames, np.random.Generator], Frames]


def _of_pictures(change: Callable[[Image.Image], Image.Image]) -> Change:
    return lambda frames, rng: [np.asarray(change(Image.fromarray(frame))) for frame in frames]


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 4 * 2, image.height // 4 * 2), Image.Resampling.BOX)


def _gamma(exponent: float) -> Change:
    table = [round(255 * (n / 255) ** exponent) for n in range(256)]
    return _of_pictures(lambda image: image.point(table * 3))


def _brightness(factor: float) -> Change:
    return _of_pictures(lambda image: ImageEnhance.Brightness(image).enhance(factor))


def _cropped(frames: Frames, rng: np.random.Generator) -> Frames:
    """80 % of each side, at a random place."""
    height, width = frames[0].shape[:2]
    h, w = round(0.8 * height / 2) * 2, round(0.8 * width / 2) * 2
    y, x = (int(rng.integers(room + 1)) for room in (height - h, width - w))
    return [frame[y:y + h, x:x + w] for frame in frames]


def _hue(frames: Frames, rng: np.random.Generator) -> Frames:
    """Hue turned by 30 to 60 degrees, either way."""
    degrees = rng.uniform(30, 60) * rng.choice([-1, 1])

    def change(image: Image.Image) -> Image.Image:
        hue, *others = image.convert("HSV").split()
        turned = (np.asarray(hue, np.int16) + round(degrees / 360 * 256)) % 256
        return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), *others)).convert(
            "RGB")

    return _of_pictures(change)(frames, rng)


def _captioned(frames: Frames, rng: np.random.Generator) -> Frames:
    """Three lines of white text with a black edge, an eighth of the height each."""
    height, width = frames[0].shape[:2]
    font = ImageFont.load_default(height // 8)
    lines = [(rng.uniform(0, 0.3) * width, (line + rng.uniform(0, 0.5)) * height / 3, text)
             for line, text in enumerate(rng.permutation(
                 ["Watch until the end!", "PART 2 tomorrow", "@someone_else", "this is so good",
                  "NEW EPISODE"])[:3])]

    def change(image: Image.Image) -> Image.Image:
        draw = ImageDraw.Draw(image)
        for x, y, text in lines:
            draw.text((x, y), str(text), "white", font, stroke_width=2, stroke_fill="black")
        return image

    return _of_pictures(change)(frames, rng)


def _turned(flags: str) -> Change:
    return lambda frames, rng: [np.ascontiguousarray(TURNS[flags](frame)) for frame in frames]


def _same(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames


@dataclass(frozen=True)
class Kind:
    """A change of a query: of its pictures, its orientation, its speed and its compression."""

    change: Change = _same
    orientation: str = ""
    speed: float = 1.0
    crf: str = ""
    jpeg: int = 0


CHANGES: dict[str, Kind] = {
    "as it is": Kind(),
    **{f"turned: {flags}": Kind(_turned(flags), flags) for flags in TURNS if flags},
    "x264 crf 35": Kind(crf="35"),
    "half size, crf 35": Kind(_of_pictures(_halved), crf="35"),
    "cropped by 20 %": Kind(_cropped),
    "brightness -25 %": Kind(_brightness(0.75)),
    "brightness +25 %": Kind(_brightness(1.25)),
    "gamma 0.6": Kind(_gamma(0.6)),
    "gamma 1.6": Kind(_gamma(1.6)),
    "hue 30 to 60 degrees": Kind(_hue),
    "grey": Kind(_of_pictures(lambda image: image.convert("L").convert("RGB"))),
    "speed 1.25": Kind(speed=1.25),
    "speed 0.8": Kind(speed=0.8),
    "text over it": Kind(_captioned),
    "reversed": Kind(lambda frames, rng: frames[::-1]),
}
_TURNED = "--rotate 90", "--flip horizontal"
PICTURE_CHANGES: dict[str, Kind] = {
    "picture": Kind(),
    **{f"picture, turned: {flags}": Kind(_turned(flags), flags) for flags in _TURNED},
    "picture, JPEG quality 30": Kind(jpeg=30),
    "picture, half size": Kind(_of_pictures(_halved)),
    "picture, cropped by 20 %": Kind(_cropped),
    "picture, hue 30 to 60 degrees": Kind(_hue),
    "picture, grey": CHANGES["grey"],
    "picture, text over it": Kind(_captioned),
}


# --- reading and writing -------------------------------------------------------------------------

def view_of(image: Image.Image) -> Image.Image:
    """The largest 16:9 part of the middle, of even sides."""
    width = min(image.width, round(image.height * _ASPECT)) // 2 * 2
    height = min(image.height, round(image.width / _ASPECT)) // 2 * 2
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def read_frames(snippet: Snippet) -> Frames:
    """The 16:9 frames of a snippet."""
    with av.open(snippet.path) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return [np.asarray(view_of(image)) for image in frames[
        snippet.first:snippet.first + snippet.n_frames]]


def write_clip(path: Path, frames: Iterable[np.ndarray], fps: Fraction, options: dict[str, str]
               ) -> None:
    """Compress frames by x264 on one thread."""
    with av.open(str(path), "w") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=fps.limit_denominator(60000),
                                              options={"threads": "1", **options})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame), format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())


def snippets(folder: Path, kind_of: Callable[[str], str]) -> Iterator[Snippet]:
    """Snippets of the clips of a folder whose source is of some kind."""
    for path in sorted(folder.iterdir()):
        recording = recording_of(path.name)
        source = _SAME_SCENE.get(recording, recording)
        kind = kind_of(source)
        if not kind or path.suffix not in (".mp4", ".mkv", ".webm"):
            continue
        with av.open(str(path)) as container:
            fps = Fraction(container.streams.video[0].average_rate or FPS)
            n = sum(1 for _ in container.decode(video=0))
        kept = min(n, int(EVAL_SECONDS * fps)) if n / fps > 2 * FILM_SECONDS[0] else n
        yield Snippet(str(path), source, kind, (n - kept) // 2, kept, str(fps))


# --- the library ---------------------------------------------------------------------------------

def chosen_snippets(train: Path, evaluation: Path | None, part: str, rng: np.random.Generator
                    ) -> tuple[list[Snippet], list[Snippet]]:
    """(snippets of the library, snippets left out of it)."""
    def kind_of(source: str) -> str:
        if not is_held_out(source, HELD_OUT):
            return "distractor"
        return "query" if is_held_out(source, CALIBRATION) == (part == "calibration") else ""

    found = list(snippets(train, kind_of))
    if evaluation is not None and part == "test":
        found += snippets(evaluation, lambda source: "query")
    by_source: dict[str, list[Snippet]] = {}
    for snippet in found:
        if snippet.kind == "query":
            by_source.setdefault(snippet.source, []).append(snippet)
    queries = [of[rng.integers(len(of))] for of in by_source.values()]
    order = rng.permutation(len(queries))
    n_out = round(LEFT_OUT * len(queries))
    inside = [queries[n] for n in order[n_out:]]
    return (inside + [snippet for snippet in found if snippet.kind == "distractor"],
            [queries[n] for n in order[:n_out]])


def arranged(inside: list[Snippet], rng: np.random.Generator) -> list[list[Snippet]]:
    """Snippets of films, in random order; each source once in a film at most."""
    total = sum(snippet.seconds for snippet in inside)
    lengths: list[float] = []
    while sum(lengths) < total:
        lengths.append(rng.uniform(*FILM_SECONDS))
    lengths = [length * total / sum(lengths) for length in lengths]
    films: list[list[Snippet]] = [[] for _ in lengths]
    for n in rng.permutation(len(inside)):
        snippet = inside[n]
        room = [length - sum(other.seconds for other in film)
                if all(other.source != snippet.source for other in film) else -np.inf
                for film, length in zip(films, lengths, strict=True)]
        if max(room) > -np.inf:
            films[int(np.argmax(room))].append(snippet)
    return [[film[n] for n in rng.permutation(len(film))] for film in films]


def film_frames(film: list[Snippet]) -> Iterator[np.ndarray]:
    """Frames of a film: each snippet scaled to its size and rate."""
    for snippet in film:
        frames = [np.asarray(Image.fromarray(frame).resize(SIZE, Image.Resampling.BICUBIC))
                  for frame in read_frames(snippet)]
        for n in range(shown_frames(snippet)):
            yield frames[min(int(n * Fraction(snippet.fps) / FPS), len(frames) - 1)]


def shown_frames(snippet: Snippet) -> int:
    """Frames of a film that show a snippet."""
    return round(snippet.seconds * FPS)


# --- queries -------------------------------------------------------------------------------------

def make_query(snippet: Snippet, frames: Frames, name: str, placed: Placed | None, folder: Path,
               seed: int) -> Query:
    """Write one query from the frames of a snippet."""
    stem = f"{Path(snippet.path).stem}-{name.replace(' ', '_').replace('%', '').replace(':', '')}"
    rng = np.random.default_rng([seed, zlib.crc32(stem.encode())])
    fps = Fraction(snippet.fps)
    is_picture = name in PICTURE_CHANGES
    kind = (PICTURE_CHANGES if is_picture else CHANGES)[name]
    n = 1 if is_picture else min(len(frames), round(rng.uniform(*QUERY_SECONDS) * fps))
    first = int(rng.integers(len(frames) - n + 1))
    changed = kind.change(frames[first:first + n], rng)
    if is_picture:
        path = folder / f"{stem}.png"
        image = Image.fromarray(changed[0])
        if kind.jpeg:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=kind.jpeg)
            image = Image.open(file)
        image.save(path)
    else:
        path = folder / f"{stem}.mp4"
        write_clip(path, changed, fps * Fraction(kind.speed),
                   {"crf": kind.crf} if kind.crf else QUALITY)
    begins = placed.start if placed else 0.0
    start = float(first / fps) + begins
    return Query(str(path), snippet.source, name, placed.film if placed else "", start,
                 start + (0 if is_picture else float(n / fps)),
                 (begins, begins + shown_frames(snippet) / FPS), kind.orientation)


def make_library(train: Path, evaluation: Path | None, work: Path, *, part: str, seed: int,
                  progress: Callable[[str], None]) -> Library:
    """Write films and queries below `work`, or find them there from an earlier run."""
    folder = work / f"{part}-{seed}"
    record = folder / "protocol.json"
    if not record.exists():
        rng = np.random.default_rng(seed)
        inside, outside = chosen_snippets(train, evaluation, part, rng)
        (folder / "films").mkdir(parents=True, exist_ok=True)
        (folder / "queries").mkdir(exist_ok=True)
        placed: list[Placed] = []
        for number, film in enumerate(arranged(inside, rng)):
            path = folder / "films" / f"film-{number:02}.mp4"
            progress(f"{path.name}: {len(film)} snippets")
            shown = 0
            for snippet in film:
                placed.append(Placed(snippet, str(path), shown / FPS))
                shown += shown_frames(snippet)
            write_clip(path, film_frames(film), Fraction(FPS), {"crf": "23"})
        places = {place.snippet: place for place in placed}
        queries = []
        for snippet in [s for s in places if s.kind == "query"] + outside:
            progress(f"queries from {Path(snippet.path).name}")
            frames = read_frames(snippet)
            queries += [make_query(snippet, frames, name, places.get(snippet),
                                   folder / "queries", seed)
                        for name in [*CHANGES, *PICTURE_CHANGES]]
        seconds = sum(shown_frames(place.snippet) for place in placed) / FPS
        record.write_text(json.dumps({"seconds": seconds, "placed": [asdict(p) for p in placed],
                                      "queries": [asdict(q) for q in queries]}, indent=1))
    found = json.loads(record.read_text())
    placed = [Placed(Snippet(**p["snippet"]), p["film"], p["start"]) for p in found["placed"]]
    return Library(sorted({place.film for place in placed}), placed,
                    [Query(**query) for query in found["queries"]], found["seconds"])
