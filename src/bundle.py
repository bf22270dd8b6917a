"""What ChimeraX asks of a bundle: its entry points, by name.

ChimeraX calls these when one of the things that bundle_info.xml declares is first used; each imports what it needs
then, so that starting ChimeraX costs nothing.
"""

from __future__ import annotations

from chimerax.core.toolshed import BundleAPI


class _CryoTransAPI(BundleAPI):
    api_version = 1


bundle_api = _CryoTransAPI()
