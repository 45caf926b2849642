"""Units of length, as image files spell them, in nanometres."""

from __future__ import annotations

import re

__all__ = ["length_in_nm"]

_PREFIXES = {
    "yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6,
    "milli": -3, "centi": -2, "deci": -1, "": 0, "deca": 1, "hecto": 2, "kilo": 3, "mega": 6,
    "giga": 9, "tera": 12, "peta": 15, "exa": 18, "zetta": 21, "yotta": 24,
}  # fmt: skip

# The names OME-Zarr takes from UDUNITS-2, then the symbols of ImageJ and OME-XML.
_NANOMETRES: dict[str, float] = {
    **{f"{prefix}meter": float(f"1e{power + 9}") for prefix, power in _PREFIXES.items()},
    "angstrom": 0.1,
    "inch": 25.4e6,
    "foot": 304.8e6,
    "yard": 914.4e6,
    "mile": 1609.344e9,
    "parsec": 3.0856775814913673e25,
    "micron": 1e3,
    "pm": 1e-3,
    "å": 0.1,
    "a": 0.1,
    "nm": 1.0,
    "um": 1e3,
    "mm": 1e6,
    "cm": 1e7,
    "m": 1e9,
    "in": 25.4e6,
}


def length_in_nm(unit: str) -> float | None:
    r"""One ``unit`` in nanometres, or None if it is no length (such as ``pixel``).

    Knows the UDUNITS-2 names of the OME-Zarr specification, the symbols of OME-XML, and
    what ImageJ writes: ``micron``, and ``µm`` also as the seven characters ``\u00B5m``.
    """
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), unit)
    # Two code points look like mu, two like the letter A with a ring.
    text = text.strip().replace("\u00b5", "u").replace("\u03bc", "u").replace("\u212b", "å").lower()
    text = text.replace("metre", "meter")
    for name in (text, text.removesuffix("s")):
        if name in _NANOMETRES:
            return _NANOMETRES[name]
    return None
