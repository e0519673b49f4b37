"""What every panel is given: the limits of the page, by environment variables, and its folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aehub.config import Limits, exceeds_duration, positive_integer
from aehub.errors import InputError
from aehub.threads import VARIABLE as THREADS
from aehub.ui.formatting import seconds_text
from aehub.ui.result_folders import ResultFolders
from aehub.ui.throughput import Throughput


@dataclass(frozen=True)
class PageLimits:
    """Limits of the page; each has an `AEHUB_*` variable.

    Attributes:
        seconds: of a clip after trimming (`AEHUB_MAX_SECONDS`).
        pixels: of one picture (`AEHUB_MAX_PIXELS`).
        upload_mb: of one upload, in MB (`AEHUB_MAX_UPLOAD_MB`).
        queue: jobs that may wait (`AEHUB_MAX_QUEUE`).
        keep_minutes: how long files stay on the server (`AEHUB_KEEP_MINUTES`).
    """

    seconds: float = 20
    pixels: int = 4096 * 2304
    upload_mb: int = 200
    queue: int = 16
    keep_minutes: int = 60

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> PageLimits:
        """Take the limits from `environ` (default: the process environment).

        Raises:
            InputError: a variable is not a number above zero.
        """
        environ = os.environ if environ is None else environ
        # Said here for the page to refuse it when it starts.
        positive_integer(environ, THREADS)
        general = Limits.from_env(environ)
        return cls(
            seconds=general.max_seconds or cls.seconds,
            pixels=general.max_pixels if environ.get("AEHUB_MAX_PIXELS") else cls.pixels,
            upload_mb=positive_integer(environ, "AEHUB_MAX_UPLOAD_MB") or cls.upload_mb,
            queue=positive_integer(environ, "AEHUB_MAX_QUEUE") or cls.queue,
            keep_minutes=positive_integer(environ, "AEHUB_KEEP_MINUTES") or cls.keep_minutes,
        )

    @property
    def clip(self) -> Limits:
        """What holds for a clip that is to be compressed."""
        return Limits(max_pixels=self.pixels, max_seconds=self.seconds)

    @property
    def picture(self) -> Limits:
        """What holds for a clip that may still be trimmed."""
        return Limits(max_pixels=self.pixels)

    def check(self, facts: Mapping[str, Any], does: str, command: str) -> None:
        """Refuse an `.aev` file above the limits, before anything of it is decoded.

        Args:
            facts: as `aehub.info` returns them.
            does: what the page does with it, such as "decodes".
            command: what does the same without limits.

        Raises:
            InputError: it plays too long, or its pictures are too large.
        """
        width, height = facts["width"], facts["height"]
        if exceeds_duration(facts["seconds"], self.seconds):
            raise InputError(f"the file plays {seconds_text(facts['seconds'])} and this page "
                             f"{does} {self.seconds:g} s; use {command} at home.")
        if width * height > self.pixels:
            raise InputError(f"the picture is {width}×{height} and this page {does} "
                             f"{self.pixels / 1e6:.1f} megapixels; use {command} at home.")

    @property
    def summary(self) -> str:
        """The limits in words."""
        return (f"At most {self.seconds:g} s of a clip, {self.pixels / 1e6:.1f} megapixels a "
                f"frame, {self.upload_mb} MB an upload. Files are deleted after "
                f"{self.keep_minutes} minutes.")


@dataclass(frozen=True)
class Context:
    """Limits, where results go, and how fast this machine is: what every panel shares.

    `shared` holds components that one panel offers to those built after it, and the tab that is
    being built.
    """

    limits: PageLimits
    folders: ResultFolders
    throughput: Throughput
    shared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_env(cls) -> Context:
        """Limits of the environment, and a temporary folder for results."""
        limits = PageLimits.from_env()
        folders = ResultFolders(60 * limits.keep_minutes)
        return cls(limits, folders, Throughput(folders))
