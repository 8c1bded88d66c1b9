"""Experiments over seeds: arms, claims, records, statistics, and the page that shows them.

A config file is an experiment where it has `sweep()`, the points, and `claims()`, what they test:
`design.py` has both. `sweep.py` runs the points and leaves a record of each (`result.py`);
`report.py` compares arms by their `outcomes.py` (`statistics.py`), and `page.py` writes tables and
a page with `charts.py`. `leaderboard.py` shows any runs.
"""

from googlenet_jax.evidence.design import Claim, grid

__all__ = ['Claim', 'grid']
