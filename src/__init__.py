"""CryoTRANS for ChimeraX: pseudo-trajectories between two cryo-EM maps.

The package is two things in one folder.  In UCSF ChimeraX it is the bundle ChimeraX-CryoTRANS, which begins at
`bundle_api`.  In any other Python (3.9 or later, with PyTorch) it is the engine, `chimerax.cryotrans.engine`, and its
programs, `cryotrans-train`, `cryotrans-predict` and `cryotrans-batch`.  So importing this module imports nothing else;
what needs ChimeraX comes in when ChimeraX asks for it.
"""

from __future__ import annotations

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`bundle_api`, where ChimeraX's toolshed looks for it."""
    if name == "bundle_api":
        from .bundle import bundle_api

        return bundle_api
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
