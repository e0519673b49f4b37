"""Turning a predicted group turns its pictures, and turning back gives its integers again."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import pytest
import torch

import aehub
from aehub.bitstream import FileHeader, GroupHeader, hierarchical_references
from aehub.bitstream.group_header import chain_types
from aehub.codecs.d4 import PAYLOAD_FORMATS
from aehub.codecs.d4.checkpoint import StoredModel, make_self_test
from aehub.codecs.d4.classical_init import init_classical, init_classical_inter
from aehub.codecs.d4.codec import D4Codec
from aehub.codecs.d4.network import HYPER_LATENTS, Codes, D4Network
from aehub.codecs.d4.planes import PlaneBatch
from aehub.codecs.d4.tied_conv import TiedConv2d
from aehub.codecs.d4.transcode import rewrite_group
from aehub.coding.range_coder import ScaleTables
from aehub.media.orientation import ELEMENTS, inverse, turn
from predicted_files import (
    Encoded,
    encoded,
    equal_frames,
    orbit,
    planes_of,
    planes_psnr,
    tiny,
    turned_group,
)

SIZE = (96, 64)


@torch.no_grad()
def disturbed() -> D4Codec:
    """A codec without a single parameter at its start, which still codes pictures."""
    torch.manual_seed(12)
    network = D4Network(2, 0, 1, filter_fields=1, filter_layers=1)
    init_classical(network)
    init_classical_inter(network.inter)
    for module in network.modules():
        if isinstance(module, TiedConv2d):
            fan = module.inputs.channels * module.kernel**2
            module.theta.add_(torch.randn_like(module.theta) * 0.03 / fan**0.5)
    for name, parameter in network.named_parameters():
        if name.endswith(".values"):
            parameter.add_(torch.randn_like(parameter) * 0.05)
    network.constrain()
    network.eval().requires_grad_(False)
    return D4Codec(StoredModel("random", network, ScaleTables.fit(), {}, make_self_test(network)))


class Case(NamedTuple):
    codec: D4Codec
    group: Encoded


class Turned(NamedTuple):
    """The group turned by `g`."""

    case: Case
    g: int
    group: Encoded


def file_header(size: tuple[int, int]) -> FileHeader:
    return FileHeader("", b"\0" * 8, b"\0" * 8, PAYLOAD_FORMATS[0], *size, Fraction(25), 6180, 7)


@pytest.fixture(scope="module", params=[tiny, disturbed, aehub.load],
                ids=["tiny", "random", "bundled"])
def case(request: pytest.FixtureRequest) -> Case:
    codec = request.param()
    group = encoded(planes_of(orbit(7, *SIZE, seed=4)), 61.8, (4, 2), codec)
    return Case(codec, group)


@pytest.fixture(scope="module", params=ELEMENTS.values(), ids=ELEMENTS.keys())
def turned(case: Case, request: pytest.FixtureRequest) -> Turned:
    g, group = request.param, case.group
    payload, header = turned_group(case.codec, group.payload, group.header, file_header(SIZE), g)
    size = SIZE[::-1] if g & 4 else SIZE
    return Turned(case, g, group._replace(header=header, payload=payload, size=size))


def test_turned_payloads_show_turned_pictures(turned: Turned) -> None:
    found = turned.group.pictures(turned.case.codec)
    assert found.keys() == turned.group.decoded.keys()
    for number, planes in turned.group.decoded.items():
        wanted = PlaneBatch(*(turn(plane, turned.g) for plane in planes))
        assert planes_psnr(found[number], wanted) >= 60


def test_turning_back_gives_the_same_bytes(turned: Turned) -> None:
    back, _ = turned_group(turned.case.codec, turned.group.payload, turned.group.header,
                           file_header(turned.group.size), inverse(turned.g))
    assert back == turned.case.group.payload


def test_a_turned_payload_holds_the_turned_integers(turned: Turned) -> None:
    g, latents = turned.g, turned.case.codec.network.representation
    frames = turned.group.frames(turned.case.codec)
    for found, written in zip(frames, turned.group.written, strict=True):
        motion = None if written.motion is None else written.motion.turn(g)
        codes = Codes(HYPER_LATENTS.act(written.codes.hyper, g),
                      latents.act(written.codes.latent, g))
        tables = Codes(HYPER_LATENTS.magnitudes().act(written.tables.hyper, g),
                       latents.magnitudes().act(written.tables.latent, g))
        assert equal_frames(found, written._replace(motion=motion, codes=codes, tables=tables))


def test_turned_payloads_take_as_many_bytes(turned: Turned) -> None:
    n_bytes = len(turned.case.group.payload)
    assert n_bytes > 1000
    assert abs(len(turned.group.payload) - n_bytes) <= 8


def test_pictures_are_not_symmetric_by_themselves(case: Case) -> None:
    planes = case.group.decoded[3]
    for g in (1, 2, 3):
        assert planes_psnr(planes, PlaneBatch(*(turn(plane, g) for plane in planes))) < 25


def test_frames_that_need_no_others_can_be_kept_alone(case: Case) -> None:
    words, kept, _ = rewrite_group(case.codec.runtime, case.group.payload, case.group.header,
                                   file_header(SIZE), 0, range(5))
    header = GroupHeader(5, case.group.header.quality, frame_types=chain_types(5),
                         references=hierarchical_references(((4, 1),)), stream_words=words)
    found = case.group._replace(payload=kept, header=header).pictures(case.codec)
    assert found.keys() == set(range(5))
    for number, planes in found.items():
        for ours, theirs in zip(planes, case.group.decoded[number], strict=True):
            assert torch.equal(ours, theirs)
