from importlib.metadata import version as _version

project = "napari-d2r"
author = "The napari-d2r developers"
copyright = "2026, the napari-d2r developers"
version = release = _version("napari-d2r")

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"napari-d2r {release}"
