"""Layers of characters, told from pictures of characters that wear them.

Of each layer only its users are known. Where they agree and others do not, that is the layer;
where the layers below are known, what differs from them lies above. A few rounds of that.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

_ROUNDS = 8
# A layer shows where its users agree on a colour that others seldom have there. Clothes hide most
# of a body, so of its users few agree.
_AGREE, _AGREE_BODY, _SELDOM, _OTHERS = 0.5, 0.12, 0.5, 60
_LEAST_USERS = 3
# Where hair has, in more than this share of its users, the colour of their skin, it is their skin.
_SKIN = 0.6
_HEADS_OF_THEIR_OWN = ("orc", "skeleton")


def style_of(layer: str) -> str:
    """What layers that differ in colour only share: bodies, hair, beards and capes come in many
    colours."""
    folders = layer.removesuffix(".png").split("/")
    if folders[0] in ("hair", "facial"):
        return "/".join(folders[:3])
    if folders[0] == "body" and len(folders) == 3:
        other = [kind for kind in _HEADS_OF_THEIR_OWN if kind in folders[2]]
        return "/".join([*folders[:2], *other])
    return "/".join(folders[:-1]) if "cape" in folders else layer


def slot_of(layer: str) -> str:
    """Where a layer is worn, one of `SLOTS`."""
    folders = layer.split("/")
    if folders[0] == "body":
        return folders[2] if len(folders) > 3 else "body"
    if folders[0] == "torso":
        return "cape" if "cape" in folders else "torso"
    named = {"formal_male_no_th-sh": "suit", "facial": "beard"}
    return named.get(folders[0], folders[0])


def taken_apart(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                ) -> tuple[np.ndarray, np.ndarray]:
    """(shown bool [L, P], colour uint16 [L, P]) of layers, from pictures uint16 [N, P]."""
    shown, places = _first_guess(pictures, worn, names, white)
    styles = sorted({style_of(name) for name in names})
    style = np.array([styles.index(style_of(name)) for name in names])
    for _ in range(_ROUNDS):
        shown, places = _round(pictures, worn, style, white, shown, places)
    for number, name in enumerate(styles):
        if name.startswith("hair/"):
            _return_skin(pictures, worn, np.flatnonzero(style == number), shown, places)
    return shown, places


def _return_skin(pictures: np.ndarray, worn: list[list[int]], layers: np.ndarray,
                 shown: np.ndarray, places: np.ndarray) -> None:
    """Where hair of a style has the colour of whoever wears it, most often, it is their skin that
    shows; in place.

    Most hair hides the head, so what little hair leaves free belongs to no body yet.
    """
    users = [(number, layer) for layer in layers for number, some in enumerate(worn)
             if layer in some]
    seen, skin = (np.zeros(shown.shape[1], np.int32) for _ in range(2))
    for number, layer in users:
        body = worn[number][0]
        seen += shown[layer]
        skin += shown[layer] & np.isin(pictures[number], np.unique(places[body][shown[body]]))
    bare = skin > _SKIN * np.maximum(seen, 1)
    for number, layer in users:
        body = worn[number][0]
        fresh = bare & shown[layer] & ~shown[body]
        places[body][fresh] = pictures[number][fresh]
        shown[body] |= fresh
    shown[layers] &= ~bare


def _first_guess(pictures: np.ndarray, worn: list[list[int]], names: list[str], white: int
                 ) -> tuple[np.ndarray, np.ndarray]:
    shown = np.zeros((len(names), pictures.shape[1]), bool)
    places = np.zeros(shown.shape, np.uint16)
    users = defaultdict(list)
    for character, layers in enumerate(worn):
        for layer in layers:
            users[layer].append(character)
    rng = np.random.default_rng(0)
    for layer, some in users.items():
        if len(some) < _LEAST_USERS:
            continue
        colour, share = _most_frequent(pictures[some])
        rest = np.setdiff1d(np.arange(len(worn)), some)
        rest = rng.choice(rest, min(_OTHERS, len(rest)), replace=False)
        elsewhere = (pictures[rest] == colour).mean(0)
        is_body = names[layer].startswith("body/") and names[layer].count("/") == 2
        least = _AGREE_BODY if is_body else _AGREE
        shown[layer] = (colour != white) & (share >= least) & (elsewhere < _SELDOM * share)
        places[layer] = colour
    return shown, places


def _most_frequent(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(the most frequent value, its share) of each column."""
    ordered = np.sort(rows, 0)
    run = np.ones(ordered.shape, np.int16)
    for number in range(1, len(rows)):
        run[number] += np.where(ordered[number] == ordered[number - 1], run[number - 1], 0)
    longest = run.argmax(0)[None]
    value, length = (np.take_along_axis(a, longest, 0)[0] for a in (ordered, run))
    return value, length / len(rows)


def _round(pictures: np.ndarray, worn: list[list[int]], style: np.ndarray, white: int,
           shown: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ask every character about every layer: does it differ from what lies below, and how?"""
    n_styles, size = int(style.max()) + 1, pictures.shape[1]
    differs, seen = (np.zeros((n_styles, size), np.int16) for _ in range(2))
    colour, lead = np.zeros(shown.shape, np.uint16), np.zeros(shown.shape, np.int16)
    for picture, layers in zip(pictures, worn, strict=True):
        covered = [np.zeros(size, bool)]
        for layer in reversed(layers[1:]):
            covered.append(covered[-1] | shown[layer])
        below = np.full(size, white, np.uint16)
        for layer, above in zip(layers, reversed(covered), strict=True):
            other = (picture != below) & ~above
            differs[style[layer]] += other
            seen[style[layer]] += ~above
            _vote(colour[layer], lead[layer], picture, other)
            below = np.where(shown[layer], places[layer], below)
    opaque = (2 * differs > seen)[style] & (lead > 0) & (colour != white)
    return opaque, colour


def _vote(colour: np.ndarray, lead: np.ndarray, picture: np.ndarray, where: np.ndarray) -> None:
    """Boyer and Moore's majority vote, one voter at a time, in place."""
    agrees = where & (picture == colour)
    fresh = where & ~agrees & (lead == 0)
    lead += agrees
    lead -= where & ~agrees & ~fresh
    colour[fresh] = picture[fresh]
    lead[fresh] = 1
