"""Limits of the page, from environment variables, and the context that all panels share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aehub.config import Limits, exceeds_duration, positive_integer
from aehub.errors import InputError
from aehub.threads import VARIABLE as THREADS
from aehub.ui.formatting import seconds_text
from aehub.ui.library import Library
from aehub.ui.page_jobs import PageJobs
from aehub.ui.result_folders import ResultFolders
from aehub.ui.throughput import Throughput


@dataclass(frozen=True)
class PageLimits:
    """Limits of the page, each set by an `AEHUB_*` variable.

    Attributes:
        seconds: of a clip after trimming (`AEHUB_MAX_SECONDS`).
        pixels: of one picture (`AEHUB_MAX_PIXELS`).
        upload_mb: of one upload, in MB (`AEHUB_MAX_UPLOAD_MB`).
        queue: most jobs that wait (`AEHUB_MAX_QUEUE`).
        jobs: that run at once (`AEHUB_MAX_JOBS`); 0 is one for every four threads.
        memory_mb: most memory that the process of a job may take, in MB (`AEHUB_MAX_MEMORY_MB`);
            0 is a share of that of the machine.
        keep_minutes: time that files stay on the server (`AEHUB_KEEP_MINUTES`).
    """

    seconds: float = 20
    pixels: int = 4096 * 2304
    upload_mb: int = 200
    queue: int = 24
    jobs: int = 0
    memory_mb: int = 0
    keep_minutes: int = 60

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> PageLimits:
        """Take the limits from `environ` (default: the process environment).

        Raises:
            InputError: a variable is not a number above zero.
        """
        environ = os.environ if environ is None else environ
        # Checked here so that a wrong value stops the page at its start.
        positive_integer(environ, THREADS)
        general = Limits.from_env(environ)
        return cls(
            seconds=general.max_seconds or cls.seconds,
            pixels=general.max_pixels if environ.get("AEHUB_MAX_PIXELS") else cls.pixels,
            upload_mb=positive_integer(environ, "AEHUB_MAX_UPLOAD_MB") or cls.upload_mb,
            queue=positive_integer(environ, "AEHUB_MAX_QUEUE") or cls.queue,
            jobs=positive_integer(environ, "AEHUB_MAX_JOBS") or cls.jobs,
            memory_mb=positive_integer(environ, "AEHUB_MAX_MEMORY_MB") or cls.memory_mb,
            keep_minutes=positive_integer(environ, "AEHUB_KEEP_MINUTES") or cls.keep_minutes,
        )

    @property
    def clip(self) -> Limits:
        """Limits of a clip to compress."""
        return Limits(max_pixels=self.pixels, max_seconds=self.seconds)

    @property
    def picture(self) -> Limits:
        """Limits of a clip that may still be trimmed."""
        return Limits(max_pixels=self.pixels)

    def check(self, facts: Mapping[str, Any], does: str, command: str) -> None:
        """Refuse an `.aev` file above the limits before any of it is decoded.

        Args:
            facts: as `aehub.info` returns them.
            does: verb for the message, such as "decodes".
            command: the command that does the same without limits.

        Raises:
            InputError: the file is too long, or its pictures are too large.
        """
        width, height = facts["width"], facts["height"]
        if exceeds_duration(facts["seconds"], self.seconds):
            raise InputError(f"the file is {seconds_text(facts['seconds'])} long and this page "
                             f"{does} at most {self.seconds:g} s; use {command} on your own "
                             "machine.")
        if width * height > self.pixels:
            raise InputError(f"the picture is {width}×{height} and this page {does} at most "
                             f"{self.pixels / 1e6:.1f} megapixels; use {command} on your own "
                             "machine.")

    @property
    def summary(self) -> str:
        """Limits in words, for the footer of the page."""
        return (f"At most {self.seconds:g} s of a clip, {self.pixels / 1e6:.1f} megapixels a "
                f"frame, {self.upload_mb} MB an upload. Files are deleted after "
                f"{self.keep_minutes} minutes.")


@dataclass(frozen=True)
class Context:
    """State that all panels share: limits, folders of results, measured throughput, jobs, the
    library.

    `shared` holds components that panels built later refer to, and the tab that is being built.
    """

    limits: PageLimits
    folders: ResultFolders
    throughput: Throughput
    library: Library = field(default_factory=Library)
    jobs: PageJobs = field(default_factory=PageJobs)
    shared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_env(cls) -> Context:
        """Take the limits from the environment and make a temporary folder for results."""
        limits = PageLimits.from_env()
        jobs = PageJobs(limits.jobs, limits.queue, limits.memory_mb)
        library = Library.from_env(jobs=jobs)
        folders = ResultFolders(60 * limits.keep_minutes)
        return cls(limits, folders, Throughput(folders, jobs), library, jobs)
