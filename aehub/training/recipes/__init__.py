"""One readable file per model of the zoo: what is trained, on what, towards what.

A recipe is a module with

    NAME, LEARNING_RATE          of the model, and of Adam at its peak
    Options                      dataclass of numbers that `--set name=value` may change; has
                                 `report_seconds`
    build(options)               the untrained model
    open_material(data, cache, options)
                                 training data, with `.batches(first, seed, held_out=)`; it may
                                 have `.notes`, sentences about what was left out
    values(model, batch, generator)
                                 `loss` to minimise, `cost` and others to watch
    export(model, material, folder, options)         write the model folder

and, where the loop's own ways will not do,

    NEEDS_DATA                   False: the recipe makes its own material, no --data is needed
    groups(model)                parameters by factor on the learning rate, else all by 1
    fitted(model)                parameters fitted before step 0, for `options.fit_steps`
    PATIENCE                     reports without a lower held-out cost before the run stops
    steps(options)               the budget where neither --steps nor --minutes is given
    report_steps(options)        steps between reports, besides `options.report_seconds`
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from aehub.errors import InputError

RECIPES = {"d4-codec": "d4_codec", "d4-inter": "d4_inter", "d4-filter": "d4_filter",
           "dense-28": "dense_28", "emoji-vae": "emoji_vae", "sprite-motion": "sprite_motion"}


def find(name: str) -> ModuleType:
    """The recipe of a model.

    Raises:
        InputError: there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"there is no recipe {name!r}; known are: {', '.join(RECIPES)}.")
    return import_module(f"{__name__}.{RECIPES[name]}")
