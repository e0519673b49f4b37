"""Model cards: front matter for hubs, and text for people.

The numbers in a card come from a comparison (`aehub compare --json`), never from hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aehub.weights.architectures import CardFacts, architectures
from aehub.weights.model_folder import tag_of

LICENCE = "apache-2.0"
_REQUIRED = {"library_name": str, "license": str, "tags": list, "datasets": list, "metrics": list}
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")

Measured = Mapping[str, Any]
"""The dictionary that `Comparison.to_dict` returns."""


def card_facts(config: Mapping[str, Any]) -> CardFacts:
    """Facts of a model's architecture, or the defaults if it is unknown."""
    record = architectures().get(str(config.get("architecture")))
    return record.card if record else CardFacts()


def front_matter(config: Mapping[str, Any], *, licence: str = LICENCE,
                 tags: Sequence[str] | None = None, datasets: Sequence[str] = (),
                 measured: Measured | None = None, codec: str | None = None) -> str:
    """The YAML that opens a card, between its two --- lines.

    Args:
        config: config.json of the model.
        licence: SPDX id in lower case.
        tags: for the search of a hub; by default those of the architecture.
        datasets: ids of the training data.
        measured: a comparison that includes the model.
        codec: the model's name in the comparison; that of the config by default.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task, facts = str(config.get("task", "")), card_facts(config)
    results = [EvalResult(
        task_type=facts.pipeline or "other", task_name=task.replace("-", " "),
        dataset_type="clips", dataset_name=_clips(measured), metric_type=kind,
        metric_name=f"Bjøntegaard rate difference to {measured['anchor']}, {name}, percent",
        metric_value=round(value, 1))
               for kind, name, value in _differences(measured, codec or str(config.get("name")))
    ] if measured else None
    data = ModelCardData(
        library_name="aehub", license=licence, pipeline_tag=facts.pipeline or None,
        tags=list(dict.fromkeys([*(facts.tags if tags is None else tags), *filter(None, [task]),
                                 "aehub"])),
        datasets=list(datasets), metrics=list(facts.metrics),
        model_name=str(config.get("name")) if results else None, eval_results=results)
    return data.to_yaml()


def make_card(config: Mapping[str, Any], *, size_bytes: int, measured: Measured | None = None,
              codec: str | None = None, datasets: Sequence[str] = (), licence: str = LICENCE,
              repo: str | None = None) -> str:
    """Write a complete card from a config and a measurement.

    Args:
        config: config.json of the model.
        size_bytes: of its weights.
        measured: a comparison that includes the model; without it the card states that nothing
            was measured.
        codec: the model's name in the comparison; that of the config by default.
        datasets: ids of the training data.
        licence: SPDX id in lower case.
        repo: repository the card is written for, "org/name".
    """
    name = str(config.get("name"))
    where = repo or f"path/to/{name}"
    matter = front_matter(config, licence=licence, datasets=datasets, measured=measured,
                          codec=codec)
    use = "Compressed files find it by" if config.get("entropy_hash") else "These weights have"
    parameters = config.get("parameters")
    count = f"{parameters:,} parameters, " if isinstance(parameters, int) else ""
    return (
        f"---\n{matter}\n---\n\n# {name}\n\n"
        f"A model of AEHub for {str(config.get('task', '')).replace('-', ' ')}.\n\n"
        f"{count}{size_bytes / 1e6:.1f} MB.\n"
        f"{use} the tag `{tag_of(config)}`.\n\n"
        f'```python\nimport aehub\n\nmodel = aehub.load("{where}")\n```\n\n'
        f"## Measured\n\n{_table(measured, codec or name, name)}\n")


def problems(card: str) -> list[str]:
    """List what the front matter of a card lacks for a hub or a reader; empty if nothing."""
    from huggingface_hub import RepoCard

    if re.match(r"---\r?\n.*?\r?\n---\r?\n", card, re.DOTALL) is None:
        return ["it does not begin with front matter between --- lines"]
    try:
        data = RepoCard(card).data.to_dict()
    except Exception as error:  # The errors of YAML have no common name among those of the client.
        return ["its front matter is no table of names and values"
                if type(error) is ValueError else "its front matter is not YAML"]
    found = [f"it does not say {name}" for name, kind in _REQUIRED.items()
             if not isinstance(data.get(name), kind)]
    if data.get("library_name") not in (None, "aehub"):
        found.append(f"its library is {str(data['library_name'])[:40]!r}, not aehub")
    datasets = data.get("datasets")
    found += [f"{str(entry)[:80]!r} is no id of a dataset"
              for entry in (datasets if isinstance(datasets, list) else ())
              if not isinstance(entry, str) or not _SLUG.fullmatch(entry)]
    return found


def _differences(measured: Measured, codec: str) -> list[tuple[str, str, float]]:
    """(metric, its name, BD-rate in percent) of the model against the anchor."""
    entry: Mapping[str, Any] = next((e for e in measured["codecs"] if e["name"] == codec), {})
    metrics = (("psnr", "PSNR"), ("ms_ssim", "MS-SSIM"))
    return [(metric.replace("_", "-"), name, entry[f"bd_rate_{metric}"])
            for metric, name in metrics if entry.get(f"bd_rate_{metric}") is not None]


def _clips(measured: Measured) -> str:
    clips = measured["clips"]
    sizes = sorted({f"{clip['width']}x{clip['height']}" for clip in clips})
    count = f"{len(clips)} clip{'' if len(clips) == 1 else 's'}"
    return f"{count} of {', '.join(sizes[:3])}{' and more' if len(sizes) > 3 else ''}"


def _table(measured: Measured | None, codec: str, name: str) -> str:
    if measured is None:
        return "Nothing was measured on this model yet."
    # A comparison names a model by the path of its folder, which means nothing to a reader.
    names = {entry["name"]: entry["name"] for entry in measured["codecs"]} | {codec: name}
    rows = [f"| {names[entry['name']]} | {_percent(entry.get('bd_rate_psnr'))} "
            f"| {_percent(entry.get('bd_rate_ms_ssim'))} |" for entry in measured["codecs"]
            if entry["name"] != measured["anchor"]]
    points = [f"| {p['clip']} | {p['quality']:g} | {p['bytes']:,} | {p['bits_per_pixel']:.4f} "
              f"| {p['psnr']:.2f} | {_similarity(p['ms_ssim'])} |"
              for p in measured["points"] if p["codec"] == codec]
    listed = ",".join(names[entry["name"]] for entry in measured["codecs"])
    return "\n".join([
        f"On {_clips(measured)}: Bjøntegaard difference of rate against {measured['anchor']}, "
        "negative is smaller at the same quality.", "",
        "| codec | PSNR (6Y + U + V)/8 | MS-SSIM of luma |", "|---|---|---|", *rows, "",
        "| clip | quality | bytes | bits per pixel | PSNR | MS-SSIM |", "|---|---|---|---|---|---|",
        *points, "", f"Command: `aehub compare CLIPS --codecs {listed}`."])


def _similarity(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %"
