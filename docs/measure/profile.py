"""Where each millisecond of encoding and decoding goes, by stage, and what the machine could do.

    python docs/measure/profile.py [--sizes 256x256,640x360,1280x720] [--frames 17] [--quality 50]

Of a stage: processor time of one thread in milliseconds a frame, without stages within it;
thousands of multiplications of its convolutions a pixel, counted from the shapes they ran with; and
the share of the machine's float32 convolution peak that they reach in that time. Winograd's
algorithm counts as the direct convolution that it replaces, and may pass the peak. Last, the frames
a second with all threads. Clips are the pan of speed.py; the fastest of three runs counts.
"""

from __future__ import annotations

import sys

if __name__ != "__main__":
    # The standard library has a module of this name, which cProfile imports, and other scripts of
    # this folder look here first: give them the right one.
    import sysconfig
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    found = spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib"), "profile.py"))
    assert found is not None and found.loader is not None
    sys.modules[__name__] = module = module_from_spec(found)
    found.loader.exec_module(module)
else:
    from stages import main

    main(__doc__)
