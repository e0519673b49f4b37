"""Recipes: one module per model of the zoo, with its network, data, loss and export.

Modules that only the recipes of one codec use lie beside these, under the name of its folder: only
modules `d4_*` know the insides of `aehub.codecs.d4`.

A recipe is a module with

    NAME, LEARNING_RATE          of the model; the peak rate of Adam
    Options                      dataclass of numbers that `--set name=value` may change; has
                                 `report_seconds`
    build(options)               the untrained model
    open_dataset(data, cache, options)
                                 training data, with `.batches(first, seed, held_out=)`; it may
                                 have `.notes`, sentences about what was left out
    losses(model, batch, generator)
                                 `loss` to minimise, `cost` and other metrics to report
    export(model, dataset, folder, options)          write the model folder

and optionally

    NEEDS_DATA                   False: the recipe draws its own data, no --data is needed
    parameter_groups(model)      parameters by factor on the learning rate, else all by 1
    start_parameters(model)      parameters fitted before step 0, for `options.fit_steps`
    PATIENCE                     reports without a lower held-out cost before the run stops
    default_steps(options)       the budget if neither --steps nor --minutes is given
    evaluation_context()         context manager around the losses of held-out batches
    steps_per_report(options)    steps between reports, besides `options.report_seconds`
"""

from __future__ import annotations

from typing import Any

from aehub.errors import InputError
from aehub.weights.architectures import architectures, import_path

_NEEDED = ("NAME", "LEARNING_RATE", "Options", "build", "open_dataset", "losses", "export")


def names() -> list[str]:
    """Names of all recipes, by the records of the architectures."""
    return [name for record in architectures().values() for name in record.recipes]


def find(name: str) -> Any:
    """Return a recipe: a module, or an object with the same attributes.

    Args:
        name: as `aehub train` takes it: that of a module of this package, or "module:object" of
            another one.

    Raises:
        InputError: there is none of that name, or it lacks something.
        WeightsError: it cannot be imported.
    """
    if name not in names():
        raise InputError(f"there is no recipe {name!r}; known are: {', '.join(names())}.")
    path = name if ":" in name else f"{__name__}.{name.replace('-', '_')}"
    recipe = import_path(path, "the recipe needs")
    if missing := [part for part in _NEEDED if not hasattr(recipe, part)]:
        raise InputError(f"the recipe {name} has no {', '.join(missing)}; upgrade the "
                         "package that brings it.")
    return recipe
