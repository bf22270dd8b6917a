"""Words that options take, and the number of steps of a flow."""

from __future__ import annotations

N_EULER_STEPS = 10  # of the flow, from t = 0 to 1
INTEGRATORS = ("euler", "midpoint", "rk4")
LOSSES = ("w2", "l2", "correlation")
FLOWS = ("auto", "network", "domains", "both")
RECIPES = ("cryotrans", "auto")
CONDITIONING = ("auto", "off")
PROGRESS = ("auto", "bar", "json", "none")
