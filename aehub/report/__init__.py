"""Everything that is shown of one compression or edit: what the page knows beside its file.

    glance     a clip's facts, with a first picture
    report      prepare -> compress -> decode and measure -> other codecs at the same bytes
    stills     one frame, or its error, without loss

Everything long is an iterator; closing it stops the work. `records` needs no torch.
"""
