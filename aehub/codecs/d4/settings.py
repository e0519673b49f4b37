"""Settings of the encoder: decoders read whatever it chooses, so each may change at any time.

"Training clips" are up to 13 lossless clips apart from those that results are reported on: a value
chosen on them was better there than the others that were tried, in rate at equal PSNR and MS-SSIM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from aehub.config import DEFAULT_EFFORT


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of the encoder of `d4-codec`.

    Attributes:
        layer_offsets: quality points below that of the group, by temporal layer; 2.8 are one QP of
            H.264. Chosen on two clips; on training clips steeper and flatter steps gained nothing.
        lambda_: Lagrange multiplier in squared quantiser steps per bit: that of the training loss.
        motion_lambda_factor: factor of lambda in motion search, for vectors are coded even where
            the residual is not. Chosen on training clips.
        mode_lambda_factor: factor of lambda in the decision of prediction modes: a mode like the
            adjacent ones saves more than its own bits, for it is the context of later blocks.
            Chosen on training clips.
        nonzero_bits: bits of a code that is not 0, an estimate.
        magnitude_bits: bits of each doubling of its magnitude, an estimate.
        block_bits: bits of a coded block of 32x32 besides its codes, an estimate.
        dead_zone: of quantisation in these estimates, in steps. Estimates by the tables take a
            seventh of the encoder's time and save 0.2 % of the rate.
        flat_tolerance: difference from one colour, in quantiser steps, up to which a cell of an
            intra frame counts as flat: one grey level at quality 50. Set by hand.
        predicted_bits: bits of a vector that is as predicted, an estimate.
        temporal_bits: bits of a vector that is the temporal predictor, raised by trial.
        zero_bits: bits of a vector of 0, raised by trial.
        merge_bits: bits of a merged vector, an estimate.
        search_range: samples at distance 0, more per frame of distance, and at most; set by hand.
        longest_pan: samples that a camera may pan from a picture to its reference; set by hand.
        peaks: peaks of phase correlation to try for key pictures; set by hand.
        b_peaks: the same for B-frames, whose temporal predictors know of key pictures' motion.
        longest_shift: component of their vectors at most, in samples: vectors go to 512.
        least_overlap: share of the picture that a picture and its copy moved by them must share;
            set by hand.
        skip_bits: a block of which the SAD at the best candidate costs no more than so many bits
            is not searched: any other vector costs about as many.
        integer_range: whole samples searched around the best candidate.
        fractions: quarter samples at which vectors are searched around the best of whole samples,
            one distance after another.
        refinements: passes of the refinement of vectors.
        steps: quarter samples at which it tries vectors around the best candidate, one distance
            after another: (2, 1) gains 1.7 % on training clips.
        short_mini_gops: lengths in frames to try in high motion. Chosen on training clips.
        reuse_count: mini-GOPs for which the best length is reused, set by hand: a trial takes the
            time of one or two more.
        log_rate_per_db: change of log(rate) per dB of PSNR, about: median of training clips.
        rate_jump: factor of the rate per frame, over that of the mini-GOP that was tried, at which
            lengths are tried again; set by hand.
        min_trial_frames: frames after which a trial may be abandoned; set by hand.
        abandon_margin: RD cost beyond the best, in log(rate), at which it is: about a tenth of the
            rate. On training clips four times as much found nothing more.
    """

    layer_offsets: tuple[float, ...] = (8.0, 14.0, 18.0, 22.0)
    lambda_: float = 0.08
    motion_lambda_factor: float = 1.75
    mode_lambda_factor: float = 2.0
    nonzero_bits: float = 5.0
    magnitude_bits: float = 2.0
    block_bits: float = 8.0
    dead_zone: float = 0.2
    flat_tolerance: float = 1 / 16
    predicted_bits: float = 0.5
    temporal_bits: float = 3.0
    zero_bits: float = 6.0
    merge_bits: float = 4.0
    search_range: tuple[int, int, int] = (8, 6, 48)
    longest_pan: int = 160
    peaks: int = 4
    b_peaks: int = 4
    longest_shift: int = 448
    least_overlap: float = 0.125
    skip_bits: float = 4.0
    integer_range: int = 2
    fractions: tuple[int, ...] = (2, 1)
    refinements: int = 1
    steps: tuple[int, ...] = ()
    short_mini_gops: tuple[int, ...] = (4, 1)
    reuse_count: int = 15
    log_rate_per_db: float = 0.18
    rate_jump: float = 2.0
    min_trial_frames: int = 4
    abandon_margin: float = 0.1

    def layer_offset(self, temporal_layer: int) -> float:
        """Quality points of a temporal layer below that of the group."""
        return self.layer_offsets[min(temporal_layer, len(self.layer_offsets) - 1)]

    def quality_offset(self, temporal_layer: int | None) -> int:
        """Quality offset of a frame in steps of 0.5, as it is signalled; None is intra."""
        return 0 if temporal_layer is None else round(2 * self.layer_offset(temporal_layer))

    def search_range_at(self, distance: int) -> int:
        """Search range in samples for a reference so many frames away."""
        least, per_frame, most = self.search_range
        return min(least + per_frame * distance, most)


_PLAIN = EncoderSettings(short_mini_gops=())
_FINE = EncoderSettings(steps=(2, 1), refinements=2)
EFFORTS = (
    replace(_PLAIN, skip_bits=16.0, integer_range=1, b_peaks=0),
    _PLAIN,
    replace(_PLAIN, steps=(1,)),
    replace(_PLAIN, steps=(2, 1)),
    EncoderSettings(steps=(2, 1), short_mini_gops=(4,)),
    EncoderSettings(steps=(2, 1)),
    _FINE,
    replace(_FINE, steps=(2, 1, 1), reuse_count=7),
    replace(_FINE, steps=(2, 1, 1), refinements=3, reuse_count=3),
    replace(_FINE, steps=(4, 2, 1, 1), refinements=3, integer_range=4, peaks=8, b_peaks=8,
            short_mini_gops=(4, 2, 1), reuse_count=0, abandon_margin=0.35),
)
"""The settings of each effort.

Up to 3, one length of mini-GOPs is coded; 4 tries another, from 5 on more are tried, from 7 on ever
more often. 0 searches fewer blocks and samples, and translations of whole pictures for key pictures
only. From 2 on the refinement tries vectors around the best candidate, from 3 on further around it,
from 6 on in several passes. 9 searches further in everything.
"""
SETTINGS = EFFORTS[DEFAULT_EFFORT]
"""Those of the default."""
