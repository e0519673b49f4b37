"""`d4-codec`: a hybrid video codec with learned transforms that commute with D4.

    record.py            what AEHub knows of it without importing it
    codec.py             a loaded model: groups to payloads, pictures to latents, and back
    group_encoder.py     a group: mini-GOPs, distance of key pictures
    encoder.py           a frame: motion estimation, mode decision, coded-block flags
    settings.py          constants of the encoder
    frame.py             a frame through the networks: encode_frame, decode_frame
    layers.py            batches of frames coded together, entropy streams
    frame_coding.py      the symbols of a batch, written and read
    flat_cells.py        cells of one colour in intra frames
    decoder.py           a group decoded, frames side by side
    reconstruction.py    pictures from integers: at their size, smaller, or twice as large
    reference_buffer.py  integer state of decoded frames
    transcode.py         edits of a group's codes
    network.py           the networks of a frame (transforms.py, entropy_model.py, post_filter.py)
    upscaler.py          the network of scaling to twice the size
    quantisation.py      RDOQ, texture masking, quality of temporal layers
    motion/              block motion: search, rate-distortion refinement, coding, compensation
    checkpoint.py        weights on disk, hashes, self-test; runtime.py: networks on a device
    symmetry.py          D4; tied_conv.py, integer_conv.py: layers that commute with it
"""

PAYLOAD_FORMATS = (3, 2)
"""The `coder` byte of file headers: of new files, then those that are read too. Any change to the
bits of payloads makes a new number. 1 was never released."""
