"""2,000 simulated sweeps: what the intervals and verdicts of a report promise.

    python -m pytest -s tests/stress/test_evidence_coverage.py

Seconds: the suite has 200 of them.
"""

from test_evidence import simulated


def test_intervals_cover_and_few_verdicts_are_false():
  covered, wrong = simulated(2000, seed=1)
  print(f'all intervals cover in {covered:.1%} of sweeps, a false verdict in {wrong:.1%}')
  assert 0.93 <= covered <= 0.97
  assert wrong <= 0.06
