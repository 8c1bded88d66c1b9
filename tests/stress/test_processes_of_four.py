"""What `tests/test_processes.py` shows with two processes, with four.

python -m pytest tests/stress/test_processes_of_four.py
"""

import pytest
import test_processes as of_two
from processes import DIGITS, photos

COUNT = 4


def test_same_parameters_as_one_process(tmp_path):
  of_two.same_parameters(COUNT, tmp_path)


def test_sigterm_to_one_saves_all_and_other_counts_go_on(tmp_path):
  of_two.signal_to_one_then_others_go_on(COUNT, (1, 2), DIGITS, tmp_path)


def test_the_same_of_a_stream(tmp_path, two_classes):
  of_two.signal_to_one_then_others_go_on(COUNT, (1, 2), photos(two_classes), tmp_path)


@pytest.mark.parametrize('data', ['digits', 'photos'])
def test_four_go_on_from_two(tmp_path, two_classes, data):
  arguments = DIGITS if data == 'digits' else photos(two_classes)
  of_two.signal_to_one_then_others_go_on(2, (4,), arguments, tmp_path)


def test_one_killed_ends_the_others_and_all_go_on(tmp_path):
  of_two.killed_one_ends_the_others(COUNT, tmp_path)
