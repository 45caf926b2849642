"""``python -m napari_d2r``: the command line."""

import sys

from napari_d2r.cli import main

sys.exit(main())
