"""What to do about a morph that is not good: sentences that name options as errors.py says."""

from __future__ import annotations

from ..errors import named

_LEVELS = f"{named('initial_level')} and {named('target_level')}"

UNUSED = "Do not use this morph as it is."
LEVELS = (
    f"Look at both maps at their levels: a level that loses parts of one map, or lets noise in, spoils all. Try other "
    f"ones ({_LEVELS})."
)
MASK = (
    f"Leave out what only one of the maps shows, or what moves otherwise than the molecule, by masks "
    f"({named('initial_mask')}, {named('target_mask')})."
)
RIGID = f"Let parts move as wholes alone ({named('flow')} domains), or say which parts they are ({named('segments')})."
SWAP = "Try the other way round: the sharper of both maps is the better initial map."
MORE = f"Train some steps more ({named('resume')} {named('n_steps')})."
WHOLE = f"Let the recipe come to its end ({named('resume')}, without or with more {named('n_steps')})."
AUTO = f"Train with {named('recipe')} auto, which finds large motions."
BOX = "Put both maps into a larger box."
FEWER = f"Take an earlier checkpoint, or train fewer steps ({named('n_steps')}), so that noise is not fitted."
REGION = "Use the rest of the morph, and nothing of what is named here: confidence.mrc shows it."
SAME = "See that both maps are of one molecule and one hand, and fitted to each other."
