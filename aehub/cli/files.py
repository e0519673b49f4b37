"""`aehub compress`, `aehub decompress`, `aehub info` and `aehub verify`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from aehub.cli import options
from aehub.cli.console import EXIT_FAILED, progress_bar
from aehub.cli.many import (
    Many,
    codec_tag,
    is_many,
    many_options,
    one_and_output,
    plain,
    ray_address,
    refuse_without_out,
    run_many,
    workers_of,
    workers_option,
)
from aehub.cli.options import bytes_text, print_json, source
from aehub.config import DEFAULT_CODEC, DEFAULT_EFFORT, MAX_EFFORT
from aehub.errors import FormatError, count_text
from aehub.results import Compressed, run_job


@click.command()
@click.argument("operands", metavar="IN [OUT.aev] | IN... -o DIR", nargs=-1, required=True)
@click.option("--model", default=DEFAULT_CODEC, show_default=True, help="Name, hub id or folder.")
@click.option("--quality", type=options.Number(0, 100),
              help="0 (smallest) to 100; 50 by default.")
@click.option("--target-size", type=options.Size(), help="Bytes of the whole file, such as 500kB.")
@click.option("--target-kbps", type=options.Number(0, min_open=True), help="Average rate.")
@click.option("--effort", type=click.IntRange(0, MAX_EFFORT), default=DEFAULT_EFFORT,
              show_default=True, help="0 is the fastest; 9 takes the longest and makes the "
              "smallest file of the same quality.")
@click.option(
    "--trim",
    type=options.TimeSpanType(),
    help="Keep what is shown from A to B: seconds, or frames with a trailing f.",
)
@click.option(
    "--group",
    type=click.IntRange(1),
    help="Most frames coded together, independent of all others; by default a scene, up to ten "
    "seconds. Fewer make trims and seeking finer and the file larger.",
)
@click.option("--fps", metavar="F", help="Frames per second of pictures, such as 25 or 30000/1001; "
              "a clip is shown at this rate instead of its own, without its sound.")
@click.option("--audio/--no-audio", default=True, show_default=True, help="Carry the sound along.")
@click.option("--measure/--no-measure", default=True, show_default=True,
              help="Decode the result and compare it with the source, which takes time.")
@click.option("--grain", is_flag=True, help="Describe film grain instead of coding it; players and "
              "decompression synthesise grain like it. Of sandwich-av1.")
@options.device
@options.threads
@click.option("--salvage", is_flag=True, help="Keep what could be read of a clip that breaks off.")
@many_options(pictures=True)
@options.force
@options.as_json
def compress(
    operands: tuple[str, ...], model: str, quality: float | None, target_size: int | None,
    target_kbps: float | None, out: str | None, workers: int | None, each: bool, dry_run: bool,
    force: bool, as_json: bool, **settings: Any,
) -> None:
    """Compress the clip IN into OUT.aev, or many clips into the folder DIR.

    A folder of pictures alone is one clip. With -o, folders of clips and patterns such as
    'films/**/*.mp4' are many; the folders in them are made in DIR too.
    """
    if sum(option is not None for option in (quality, target_size, target_kbps)) > 1:
        raise click.UsageError("--quality, --target-size and --target-kbps exclude each other.")
    goal: dict[str, Any] = {
        "quality": quality, "target_size": target_size, "target_kbps": target_kbps}
    if out is not None:
        _compress_many(operands, model, Many(out, workers, each, dry_run, force, as_json),
                       **goal, **settings)
        return
    refuse_without_out(each=each, dry_run=dry_run)
    clip, output = one_and_output(operands, may_be_folder=True)
    output = output or options.default_output(clip, ".aev")
    options.refuse_two_outputs(as_json, output)
    with ExitStack() as stack:
        coder = None
        if (workers or 1) > 1 or ray_address():
            from aehub.jobs.parts import part_coder

            coder = part_coder(stack.enter_context(workers_of(workers, settings["device"])),
                               model, device=settings["device"], grain=settings["grain"])
        _compress_one(clip, output, model, force, as_json, coder=coder, **goal, **settings)


def _compress_many(operands: tuple[str, ...], model: str, many: Many, **settings: Any) -> None:
    from aehub.jobs.plan import MEDIA, Job

    job = Job("compress", plain(model=model, **settings), ".aev", MEDIA, codec_tag(model))
    run_many(job, operands, many, "compressing")


def _compress_one(clip: str, output: str, model: str, force: bool, as_json: bool, *, device: str,
                  **settings: Any) -> None:
    from aehub import hub

    # First, so that a missing model is reported before anything heavy is imported.
    loaded = hub.load(model, device=device)
    from aehub.api import compress

    options.print_notes(_memory_notes(loaded, clip))
    with progress_bar("compressing") as progress:
        result = run_job(compress.iter_compress(
            options.source(clip), options.sink(output, input_name=clip), model=loaded, force=force,
            **settings), progress)
    options.print_notes(result.notes)
    if as_json:
        options.print_json(result.to_json())
    else:
        click.echo(compressed_text(output, result), err=output == options.PIPE)


def _memory_notes(model: Any, clip: str) -> list[str]:
    """Sentence on the memory that a model will take for the pictures of a clip; of those that state
    it, and of clips that are files."""
    from aehub.codecs.base import LatentCodec
    from aehub.media.clip import open_clip

    if not isinstance(model, LatentCodec) or clip == options.PIPE:
        return []
    with open_clip(clip) as opened:
        width, height = opened.info.width, opened.info.height
    needed = options.bytes_text(model.estimate_bytes((width, height)))
    return [f"{model.name} takes about {needed} of memory for pictures of {width}x{height}."]


_FORMATS = {name: f".{name}" for name in ("mp4", "mkv", "webm", "gif", "webp", "png")}
"""Formats of many clips -> suffix of their names; others are folders of pictures."""


@click.command()
@click.argument("operands", metavar="IN.aev [OUT] | IN... -o DIR", nargs=-1, required=True)
@click.option("--model", help="Its name or folder, if not the name that the file gives.")
@click.option("--scale", type=click.Choice(["1/8", "1/4", "1/2", "1", "2"]), default="1",
              show_default=True, help="Size of the pictures; small ones take less time.")
@click.option("--restore/--no-restore", default=True, show_default=True,
              help="Or copy the AV1 stream of sandwich-av1 untouched into OUT, an .mp4, .mkv or "
              ".webm: no network runs.")
@click.option("--format", "format_name", type=click.Choice([*_FORMATS, "pictures"]),
              help="With -o, of the clips; mp4 by default, and pictures are folders of PNGs.")
@options.device
@options.threads
@many_options()
@options.force
@options.as_json
def decompress(
    operands: tuple[str, ...], model: str | None, scale: str, restore: bool,
    format_name: str | None, device: str, out: str | None, workers: int | None, dry_run: bool,
    force: bool, as_json: bool,
) -> None:
    """Turn IN.aev back into a clip, or many files into clips in the folder DIR.

    OUT ends in .mp4, .mkv (lossless), .webm, .gif, .webp or .png (animated); without a suffix it
    is a folder of PNGs, and - is a y4m pipe. Without OUT, an .mp4 is written beside IN.aev.
    """
    if out is not None:
        from aehub.jobs.plan import COMPRESSED, Job

        job = Job("decompress", plain(model=model, scale=scale, restore=restore, device=device),
                  _FORMATS.get(format_name or "mp4", ""), COMPRESSED, codec_tag(model))
        run_many(job, operands, Many(out, workers, False, dry_run, force, as_json),
                 "decompressing")
        return
    if format_name is not None:
        raise click.UsageError("--format is for many files; end the name of OUT in it.")
    refuse_without_out(dry_run=dry_run, workers=workers)
    file, output = one_and_output(operands)
    output = output or options.default_output(file, ".mp4")
    options.refuse_two_outputs(as_json, output)
    from aehub.api import compress

    with progress_bar("decompressing") as progress:
        result = compress.decompress_to(
            options.source(file), options.sink(output, input_name=file), model=model, scale=scale,
            restore=restore, device=device, force=force, progress=progress)
    options.print_notes(result.notes)
    if as_json:
        options.print_json(result.to_json())
        return
    click.echo(
        f"{options.display_name(output)}: {count_text(result.frames, 'frame')} of "
        f"{result.width}x{result.height} at {result.fps} fps in {result.elapsed:.1f} s",
        err=output == options.PIPE,
    )


def compressed_text(output: str, result: Compressed) -> str:
    """Format the result of a compression for people, in two or three lines."""
    head = (
        f"{options.display_name(output)}: {count_text(result.frames, 'frame')} of "
        f"{result.width}x{result.height} in {options.bytes_text(result.bytes)} "
        f"with {result.model}, {result.elapsed:.1f} s"
    )
    rate = [f"{result.kbps:.1f} kbps", f"{result.bits_per_pixel:.4f} bits per pixel"]
    if result.ratio is not None:
        rate.append(f"{result.ratio:.1f} times smaller than the input")
    if result.audio_bytes:
        rate.append(f"audio {options.bytes_text(result.audio_bytes)}")
    fidelity = []
    if result.psnr is not None:
        fidelity.append(f"PSNR {result.psnr:.2f} dB")
    if result.ms_ssim is not None:
        fidelity.append(f"MS-SSIM {result.ms_ssim:.4f}")
    return "\n  ".join(filter(None, [head, ", ".join(rate), ", ".join(fidelity)]))


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--model", help="Its name, hub id or folder.")
@click.option("--quality", type=options.Number(0, 100), default=50, show_default=True,
              help="Of OUT.aev, 0 (smallest) to 100.")
@options.device
@options.threads
@options.force
def latents(source: Path, output: Path, model: str | None, quality: float, device: str,
            force: bool) -> None:
    """Take latents out of IN.aev as OUT.safetensors, or put IN.safetensors into OUT.aev."""
    from aehub.api.latents import compress_latents, save_latents

    if source.suffix != ".safetensors":
        n_frames = save_latents(source, output, model=model, force=force, device=device)
        click.echo(f"{click.format_filename(output)}: latents of {count_text(n_frames, 'frame')}")
        return
    if model is None:
        raise click.UsageError("Latents are of a model; name it with --model.")
    size = compress_latents(source, output, model=model, quality=quality, force=force,
                            device=device)
    click.echo(f"{click.format_filename(output)}: {bytes_text(size)}")


@click.command()
@click.argument("file", metavar="IN.aev")
@options.as_json
def info(file: str, as_json: bool) -> None:
    """Print the header, sizes and metadata of IN.aev, without decoding it."""
    from aehub.bitstream import validation

    facts = validation.info(source(file))
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts), default=0)
    for key, value in facts.items():
        click.echo(f"{key:<{width}}  {_plain(value)}")


@click.command()
@click.argument("operands", metavar="IN.aev...", nargs=-1, required=True)
@workers_option
@options.as_json
def verify(operands: tuple[str, ...], workers: int | None, as_json: bool) -> None:
    """Check every chunk of IN.aev, or of many files: several, folders and patterns."""
    from aehub.bitstream import validation

    if len(operands) > 1 or is_many(operands[0]):
        from aehub.jobs.plan import COMPRESSED, Job

        run_many(Job("verify", kinds=COMPRESSED), operands,
                 Many(None, workers, False, False, False, as_json), "verifying")
        return
    (file,) = operands
    report = validation.verify(source(file))
    name = click.format_filename(file)
    if not report.is_aev:
        raise FormatError(report.problems[0])
    if as_json:
        print_json({"ok": report.ok, "groups": report.n_groups, "problems": report.problems})
    elif report.ok:
        click.echo(f"{name}: {count_text(report.n_groups, 'group')}, all intact")
    else:
        for problem in report.problems:
            click.echo(problem)
    if report.ok:
        return
    click.echo(
        f"aehub: {name} is damaged: {count_text(len(report.problems), 'problem')}, "
        f"{count_text(report.n_groups, 'group')} found.",
        err=True,
    )
    raise click.exceptions.Exit(EXIT_FAILED)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "unknown" if value is None else str(value)
