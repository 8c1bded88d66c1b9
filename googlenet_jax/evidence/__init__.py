"""Experiments over seeds: arms, claims, records, statistics, and the page that shows them.

A config file is an experiment where it has `sweep()`, the points, and `claims()`, what they test:
`design.py` has both. `sweep.py` runs the points and leaves a record of each (`result.py`);
`report.py` reads records, compares arms (`statistics.py`), and writes tables and a page.
"""

from googlenet_jax.evidence.design import Claim, grid

__all__ = ['Claim', 'grid']
