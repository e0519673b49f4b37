"""Numbers as text, and pieces of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from html import escape

from aehub.errors import count_text


def bytes_text(count: float) -> str:
    """Format bytes: "999 bytes", "12.3 kB", "4.5 MB"; 1 kB is 1000 bytes."""
    if count < 1000:
        return count_text(round(count), "byte")
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.0f} {unit}" if count >= 100 else f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} GB"


def rate_text(fps: Fraction | float | str) -> str:
    """Format frames per second: "25", "29.97"."""
    return f"{float(Fraction(fps)):.2f}".rstrip("0").rstrip(".")


def seconds_text(seconds: float) -> str:
    """Format a duration: "4.2 s", "1:05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, mark: int = -1
) -> str:
    """Return an HTML table with row headers in its first column; row `mark` is highlighted."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = ""
    for number, (first, *cells) in enumerate(rows):
        kind = ' class="mark"' if number == mark else ""
        rest = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f'<tr{kind}><th scope="row">{escape(first)}</th>{rest}</tr>'
    return (f'<div class="ae-table"><table><caption>{escape(caption)}</caption>'
            f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>")


def tiles(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Return tiles with large numbers, from (label, value, note) each."""
    body = "".join(
        f'<div class="ae-tile"><dt>{escape(label)}</dt><dd>{escape(value)}'
        f'<small>{escape(note)}</small></dd></div>' for label, value, note in pairs)
    return f'<dl class="ae-tiles">{body}</dl>'


def notes(sentences: Iterable[str]) -> str:
    """Return a list of remarks; empty text if there are none."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="ae-notes">{items}</ul>' if items else ""


def empty_state(title: str, sentence: str, *, small: bool = False) -> str:
    """Return the placeholder of a result before there is one."""
    kind = " ae-small" if small else ""
    return (f'<div class="ae-empty{kind}"><b>{escape(title)}</b><p>{escape(sentence)}</p></div>')


def stopped_state(button: str, *, small: bool = False) -> str:
    """Return the placeholder of a result whose job was stopped."""
    return empty_state("Stopped", f"Nothing was saved. Change the settings and {button}.",
                       small=small)


def figure(caption: str, kind: str, *, picture: str = "", video: str = "") -> str:
    """Return a picture, or a silent video in a loop, above its caption.

    Args:
        caption: plain text.
        kind: CSS class.
        picture: URL; of the poster if there is a video.
        video: URL.
    """
    caption = escape(caption)
    media = f'<img src="{escape(picture)}" alt="{caption}">'
    if video:
        poster = f' poster="{escape(picture)}"' if picture else ""
        media = (f'<video src="{escape(video)}"{poster} aria-label="{caption}" muted loop '
                 'playsinline controls disablepictureinpicture preload="auto"></video>')
    return f'<figure class="{kind}">{media}<figcaption>{caption}</figcaption></figure>'


def hint(sentence: str, role: str = "note") -> str:
    """Return one remark in place of content that cannot be shown."""
    return f'<p class="ae-hint" role="{role}">{escape(sentence)}</p>'


def progress_card(
    title: str, note: str | None = None, *, share: float | None = None, more: str = ""
) -> str:
    """Return the card of a running job.

    Args:
        title: current activity.
        note: one more remark.
        share: finished share, 0 to 1, shown as a bar; None for a job that has not begun.
        more: HTML below.
    """
    bar, left, notes = "", "", [] if note is None else [note]
    if share is not None:
        percent = round(100 * share)
        bar = ('<div class="ae-track" role="progressbar" aria-label="Progress" aria-valuemin="0" '
               f'aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i>'
               "</div>")
        notes = [f"{percent} %", *notes] if notes else []
    if notes:
        spans = "".join(f"<span>{escape(one)}</span>" for one in notes)
        left = f'<div class="ae-left">{spans}</div>'
    role = "" if bar else ' role="status"'
    return f'<div class="ae-running"{role}><h3>{escape(title)}</h3>{bar}{left}{more}</div>'


def media_element(address: str, label: str, options: str, *, kind: str = "") -> str:
    """Return an HTML video for an mp4 or webm address, an image for any other (GIF, WebP, APNG)."""
    file = f'class="ae-player{kind}" src="{escape(address)}"'
    if address.endswith((".mp4", ".webm")):
        return f'<video {file} {options} playsinline aria-label="{escape(label)}"></video>'
    return f'<img {file} alt="{escape(label)}">'


def duration_text(seconds: float) -> str:
    """Return seconds in words, rounded to the precision of a forecast."""
    if seconds < 1.5:
        return "about a second"
    if seconds < 90:
        return f"about {_rough(seconds)} s"
    return f"about {round(seconds / 60)} min"


def _rough(seconds: float) -> int:
    return round(seconds) if seconds < 10 else 5 * round(seconds / 5)
