"""Clips in and out: any video, animation or picture as 4:2:0 planes, and back."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aehub.clips.frames import ClipInfo, Colour, Frame, Planes

if TYPE_CHECKING:
    from aehub.clips.audio import AudioTrack
    from aehub.clips.clip import Clip, open_clip
    from aehub.clips.colour import from_rgb, rgb_colour, to_rgb
    from aehub.clips.trim import Trim
    from aehub.clips.writer import SUFFIXES, ClipWriter, open_writer

__all__ = [
    "SUFFIXES",
    "AudioTrack",
    "Clip",
    "ClipInfo",
    "ClipWriter",
    "Colour",
    "Frame",
    "Planes",
    "Trim",
    "from_rgb",
    "open_clip",
    "open_writer",
    "rgb_colour",
    "to_rgb",
]

# Loaded at first use, for PyAV and Pillow take a fifth of a second to import.
_HOMES = {
    "SUFFIXES": "writer",
    "AudioTrack": "audio",
    "Clip": "clip",
    "ClipWriter": "writer",
    "Trim": "trim",
    "from_rgb": "colour",
    "open_clip": "clip",
    "open_writer": "writer",
    "rgb_colour": "colour",
    "to_rgb": "colour",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
