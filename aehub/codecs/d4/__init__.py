"""`d4-codec`: a hybrid video codec with learned transforms that commute with D4.

    codec.py             a loaded model: pictures to codes and latents, and back
    encoder.py           a group: motion estimation, mode decision, codes
    frame_coding.py      the symbols of a frame, written and read
    reference_buffer.py  integer state of decoded frames
    transcode.py         edits of a group's codes
    network.py           the networks of a frame (transforms.py, entropy_model.py, post_filter.py)
    quantisation.py      RDOQ, texture masking
    motion/              block motion: search, rate-distortion refinement, coding, compensation
    checkpoint.py        weights on disk, hashes, self-test; runtime.py: networks on a device
    symmetry.py          D4; tied_conv.py, integer_conv.py: layers that commute with it
"""
