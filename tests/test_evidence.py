"""Experiments: statistics against published tables and simulation, sweeps, records, reports."""

import json
import pathlib
import re
import shutil
import subprocess
import types

import numpy as np
import program
import pytest
from etils import epath
from scipy import stats

from googlenet_jax import config_files, models, schema
from googlenet_jax.errors import InputError
from googlenet_jax.evidence import (
  design,
  grid,
  leaderboard,
  outcomes,
  page,
  report,
  result,
  statistics,
  sweep,
)
from googlenet_jax.evidence.statistics import Difference
from googlenet_jax.models.inception import InceptionModule, Widths
from googlenet_jax.models.layers import ConvBlock
from googlenet_jax.run import origin, workdirs
from googlenet_jax.tools import cost

ROOT = pathlib.Path(__file__).resolve().parents[1]
GROUP = pytest.mark.xdist_group('sweep')  # the fixtures below are made once
EXPERIMENTS = sorted((ROOT / 'configs/experiments').glob('*.py'))
WITHOUT_CLAIMS = 'base', 'rate'


@pytest.mark.parametrize(
  ('freedom', 'arms', 'expected'),
  # Two-sided 5% points of Dunnett (1964), Table II.
  [(5, 2, 3.03), (5, 3, 3.29), (10, 2, 2.57), (10, 3, 2.76), (20, 3, 2.54), (60, 2, 2.27)],
)
def test_intervals_are_dunnetts(freedom, arms, expected):
  pairs = tuple((arm, 0) for arm in range(1, arms + 1))
  found = statistics.critical((7,) * (arms + 1), pairs, freedom, 0.95)
  assert abs(found - expected) < 0.015


@pytest.mark.parametrize(('freedom', 'arms'), [(6, 3), (12, 4), (30, 5)])
def test_all_pairs_have_tukeys_intervals(freedom, arms):
  # Of these differences some are sums of others.
  pairs = tuple((i, j) for i in range(arms) for j in range(i))
  found = statistics.critical((3,) * arms, pairs, freedom, 0.95)
  expected = stats.studentized_range.ppf(0.95, arms, freedom) / np.sqrt(2)
  assert abs(found - expected) < 0.01


def test_differences_are_those_of_scipy():
  rng = np.random.default_rng(1)
  arms = {'base': rng.normal(80, 1, 5), 'a': rng.normal(81, 1, 3), 'b': rng.normal(80, 1, 4)}
  found = statistics.differences(arms, [('a', 'base'), ('b', 'base')])
  expected = stats.dunnett(arms['a'], arms['b'], control=arms['base'], rng=0)
  interval = expected.confidence_interval()
  np.testing.assert_allclose([x.low for x in found], interval.low, atol=0.01)
  np.testing.assert_allclose([x.high for x in found], interval.high, atol=0.01)
  (alone,) = statistics.differences({x: arms[x] for x in ('a', 'base')}, [('a', 'base')])
  interval = stats.ttest_ind(arms['a'], arms['base']).confidence_interval()
  np.testing.assert_allclose((alone.low, alone.high), interval, rtol=1e-9)
  # A pair told twice, or the other way round, makes the others no wider.
  again = statistics.differences(arms, [('a', 'base'), ('b', 'base'), ('base', 'a')])
  assert again[:2] == found
  np.testing.assert_allclose(again[2][:3], [-x for x in (found[0][0], found[0][2], found[0][1])])


def test_the_findable_difference_is_found_in_four_of_five_sweeps():
  arms = {'base': [80.0, 81.0, 82.0, 81.5, 80.5], 'a': [81.0, 82.5, 80.0]}
  (difference,) = statistics.differences(arms, [('a', 'base')])
  error = statistics.pooled(arms).deviation * np.sqrt(1 / 5 + 1 / 3)
  power = stats.nct.sf(stats.t.ppf(0.975, 6), 6, difference.findable / error)
  assert abs(power - 0.8) < 0.02


def test_a_difference_from_an_equal_arm_has_to_pass_the_margin_to_be_found():
  difference = statistics.Difference(0.1, -1.2, 1.4, findable=1.75)
  for direction, expected in (('equal', 2.75), ('higher', 1.75)):
    claim = design.Claim('it does', 'us', 'a', 'base', 'test_top1', direction, 1.0)
    finding = report.Finding(claim, difference, None, 'unresolved')
    assert report.findable(finding) == expected
    assert f'a difference of {expected:.2f} could' in page.sentence(finding)


def simulated(runs, seed=0):
  """Shares of simulated sweeps whose intervals all cover, and that have a false verdict."""
  rng = np.random.default_rng(seed)
  names, true = ('base', 'a', 'b', 'c', 'd'), np.array([0, 0, 0, 0.5, -2.0])
  pairs = [('a', 'base'), ('b', 'base'), ('c', 'base'), ('d', 'base'), ('a', 'b')]
  claims = [('higher', 1.0), ('lower', 1.0), ('equal', 0.4), ('higher', 1.0), ('equal', 1.0)]
  covered = wrong = 0
  for _ in range(runs):
    arms = {
      x: rng.normal(t, 0.3, 5 if x == 'base' else 3) for x, t in zip(names, true, strict=True)
    }
    found = statistics.differences(arms, pairs)
    at = dict(zip(names, true, strict=True))
    covered += all(x.low <= at[a] - at[b] <= x.high for x, (a, b) in zip(found, pairs, strict=True))
    verdicts = [statistics.verdict(x, *claim) for x, claim in zip(found, claims, strict=True)]
    # True are: no difference, no difference, 0.5 and so beyond 0.4, 2 below, no difference.
    fine = (
      {'equivalent', 'unresolved'},
      {'equivalent', 'unresolved'},
      {'refuted', 'unresolved'},
      {'refuted', 'unresolved'},
      {'equivalent', 'unresolved'},
    )
    wrong += any(x not in allowed for x, allowed in zip(verdicts, fine, strict=True))
  return covered / runs, wrong / runs


def test_simulated_sweeps_are_covered_and_judged_rightly():
  covered, wrong = simulated(200)
  # 95% less and more three standard errors of 200 sweeps.
  assert 0.90 <= covered <= 0.995
  assert wrong <= 0.095


@pytest.mark.parametrize(
  ('low', 'high', 'direction', 'expected'),
  [
    (0.1, 1.9, 'higher', 'supported'),
    (0.1, 1.9, 'lower', 'refuted'),
    (0.1, 0.9, 'higher', 'equivalent'),  # there is a difference, and it counts as none
    (-3.0, -1.2, 'lower', 'supported'),
    (-0.9, 0.9, 'higher', 'equivalent'),
    (-0.9, 1.1, 'higher', 'unresolved'),
    (0.1, 0.9, 'equal', 'equivalent'),
    (1.1, 2.0, 'equal', 'refuted'),
    (0.5, 2.0, 'equal', 'unresolved'),
  ],
)
def test_verdicts(low, high, direction, expected):
  assert (
    statistics.verdict(Difference((low + high) / 2, low, high, 1.0), direction, 1.0) == expected
  )


def test_the_choice_of_images_counts_as_for_paired_samples():
  rng = np.random.default_rng(0)
  first, second = rng.random((1, 500)) < 0.8, rng.random((1, 500)) < 0.7
  paired = stats.ttest_rel(first[0].astype(float), second[0].astype(float))
  expected = (first.mean() - second.mean()) / paired.statistic
  np.testing.assert_allclose(statistics.of_the_images(first, second), expected)


LINES = [  # records of four epochs of ten steps
  {
    'step': step,
    'epoch': step / 10,
    'main_loss': loss,
    'main_top1': 1 - loss / 4,
    'gradient_norm/conv1': 0.02,
    'parameter_norm/conv1': 2.0,
    'gradient_norm/inception_5b': 0.5,
    'parameter_norm/inception_5b': 5.0,
    'aux1_gradient_norm/conv1': 0.002,
    'main_gradient_norm/conv1': 0.02,
  }
  for step, loss in ((4, 2.0), (8, 1.5), (12, 1.2), (20, 1.0), (30, 0.9), (34, 0.6), (40, 0.4))
]


def test_outcomes_are_read_off_the_records():
  norms = outcomes.norms(LINES)
  summary = {'test_top1': 0.75, 'test_loss': 0.8}
  summary |= {'test_top1_shift_4': 0.7, 'test_top1_shift_12': 0.5, 'test_top1_shift_6': 0.6}
  course = outcomes.Course(LINES, summary, norms)
  found = outcomes.measure(course)
  last = (0.6 * 4 + 0.4 * 6) / 10
  expected = {
    'test_top1': 75.0,
    'test_loss': 0.8,
    'train_loss': last,
    'train_top1': 100 * (1 - last / 4),
    'gap': 100 * (1 - last / 4) - 75,
    'shift_loss': 25.0,
    'first_epoch_top1': 100 * (1 - (2.0 + 1.5) / 2 / 4),  # the record that ends later is left out
    'conv1_gradient': -2.0,
    'gradient_reach': -1.0,
    'head_gradient': -1.0,
  }
  assert found == pytest.approx(expected)


def test_an_epoch_of_no_whole_number_of_steps_has_its_records():
  lines = [{'step': step, 'epoch': step / 10.16, 'main_top1': step / 22} for step in (11, 22)]
  course = outcomes.Course(lines, {}, {})
  assert outcomes.OUTCOMES['first_epoch_top1'].value(course) == 50.0


def test_a_point_is_known_by_what_its_outcome_depends_on():
  base = schema.config()
  key = design.key(base)
  for field, value in (('dataset.data_dir', '/elsewhere'), ('checkpoint.keep', 7)):
    other = schema.config()
    schema.update(other, {field: value})
    assert design.key(other) == key
  changes = {
    'optimizer.lr': 0.5,
    'seed': 1,
    'dataset.test': 'all',
    'model.fields': {'stacked': True},
  }
  for field, value in changes.items():
    other = schema.config()
    schema.update(other, {field: value})
    assert design.key(other) != key


def test_seeds_come_one_after_the_other():
  points = grid({'base': {}, 'wide': {'model.width': 2.0}}, seeds=1, more={'base': 2})
  assert points == [
    {'arm': 'base', 'seed': 0},
    {'arm': 'wide', 'model.width': 2.0, 'seed': 0},
    {'arm': 'base', 'seed': 1},
  ]


@pytest.mark.parametrize(
  'path', [x for x in EXPERIMENTS if x.stem not in WITHOUT_CLAIMS], ids=lambda path: path.stem
)
def test_the_projects_experiments_can_be_run(path):
  experiment = design.load(str(path), config_files.load(str(path)))
  assert experiment.title.endswith('?')
  assert len(experiment.claims) >= 1
  assert all(len(points) >= 3 for points in experiment.arms().values())


def counted(name, **fields):
  model = models.create(name, **fields)
  return cost.cost(model, models.find(name).image_shape)


def test_the_arithmetic_of_what_is_said():
  said = (ROOT / 'docs/evidence.md').read_text()
  module = InceptionModule(Widths(0, 0, 0, 16, 48, 0), True, 5, ConvBlock)
  naive = InceptionModule(Widths(0, 0, 0, 0, 48, 0), False, 5, ConvBlock)
  reduced, whole = (cost.cost(x, (14, 14, 480)) for x in (module, naive))
  assert (whole.total('macs'), reduced.total('macs')) == (112_896_000, 5_268_480)
  assert whole.total('parameters') - 48 == 576_000  # without the biases
  assert reduced.total('parameters') - 48 - 16 == 26_880
  ours, alexnet = counted('googlenet'), counted('alexnet_grouped').total('parameters')
  assert (alexnet, ours.total('parameters')) == (60_965_224, 6_998_552)
  assert f'{alexnet / ours.total("parameters"):.1f} times' == '8.7 times'
  assert sum(row.parameters for row in ours.training_rows) == 6_379_728
  vgg = counted('vgg16')
  linear = [row for row in vgg.rows if row.kind == 'linear']
  for field, share in (('parameters', '89.4%'), ('macs', '0.8%')):
    found = sum(getattr(row, field) for row in linear) / vgg.total(field)
    assert f'{found:.1%}' == share
    assert share in said
  naive = counted('googlenet_naive')
  (linear,) = (row for row in naive.rows if row.kind == 'linear')
  assert linear.parameters == (4_944 + 1) * 1000
  totals = [f'{x.total("parameters") / 1e6:.1f}' for x in (naive, ours)]
  assert f'{totals[0]} against {totals[1]} million parameters' in said
  totals = [f'{x.total("macs") / 1e9:.1f}' for x in (naive, ours)]
  assert f'{totals[0]} against {totals[1]} billion multiply-adds' in said


def multiply_adds(experiment, arm):
  path = f'configs/experiments/{experiment}.py'
  config = design.load(path, config_files.load(path)).arms()[arm][0].config
  model = models.create(**config.model.to_dict() | {'num_classes': 10})
  return cost.cost(model, (32, 32, 3)).total('macs') / 1e6


@pytest.mark.parametrize(
  ('experiment', 'arm', 'expected'),
  [
    ('reductions', 'base', 27.0),
    ('reductions', 'naive, equal multiply-adds', 26.3),
    ('branches', 'only 3x3', 27.0),
    ('branches', 'only 5x5', 27.3),
    ('branches', 'no pool branch', 27.0),
    ('family', 'Inception v2', 27.3),
    ('family', 'Inception v3', 23.6),
    ('family', 'Inception v4', 23.2),
    ('family', 'Inception-ResNet-v2', 25.7),
    ('family', 'Xception', 26.8),
    ('family', 'ResNet-14', 26.4),
    ('family', 'Network in Network, rate 0.08', 27.5),
  ],
)
def test_arms_of_equal_cost_have_it(experiment, arm, expected):
  assert abs(multiply_adds(experiment, arm) - expected) < 0.05


FILE = """
'''Does the rate matter?'''
from configs import default
from googlenet_jax.evidence import Claim, grid

ARMS = {'base': {}, 'slow': {'optimizer.lr': 1e-4}, 'burst': {'optimizer.lr': 3e38}}


def get_config():
  c = default.get_config()
  c.model.name, c.dataset.image_size = 'lenet5', 32
  c.dataset.train, c.dataset.test = 'train[:64]', 'test[:50]'
  c.train.duration, c.train.batch_size = '2 epochs', 16
  c.log.every, c.log.norms = '2 steps', True
  return c


def sweep():
  return grid(ARMS, seeds=1)


def claims():
  return [
    Claim('A slow rate learns less', 'us', 'slow', 'base', 'train_loss', 'higher', 0.01),
    Claim('A slow rate does no harm', 'us', 'slow', 'base', 'test_top1', 'equal', 5.0),
  ]
"""


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """An experiment on a few digits that was stopped once and went on, and its folders."""
  folder = tmp_path_factory.mktemp('sweep')
  path = folder / 'rates.py'
  path.write_text(FILE)
  experiment = design.load(str(path), config_files.load(str(path)))
  runs, records = epath.Path(folder / 'runs'), epath.Path(folder / 'records')
  stopped = sweep.run(experiment, runs, records, minutes=1e-4)
  assert stopped['finished'] == '0 of 3 points'
  with workdirs.locked(runs / experiment.points[1].key):
    between = sweep.run(experiment, runs, records)
  assert between['finished'] == '2 of 3 points'
  assert sweep.run(experiment, runs, records)['finished'] == '3 of 3 points'
  return experiment, runs, records


@GROUP
def test_a_sweep_leaves_a_record_of_each_point(ran):
  experiment, runs, records = ran
  base, slow, burst = (
    next(x.content for x in result.read(records) if x.content['key'] == point.key)
    for point in experiment.points
  )
  assert (base['arm'], base['differences'], base['seed']) == ('base', {}, 0)
  assert slow['differences'] == {'optimizer.lr': 1e-4}
  summary = json.loads((runs / base['key'] / 'summary.json').read_text())
  assert base['outcomes']['test_top1'] == 100 * summary['test_top1']
  assert base['parameters'] == base['parameters_with_heads'] == summary['parameters'] == 61_706
  marks = result.Result(base, '').correct
  assert len(marks) == base['images']['count']
  np.testing.assert_allclose(marks.mean(), summary['test_top1'], rtol=1e-6)
  assert base['package'] == slow['package'] == origin.package()
  assert burst['failed'].startswith('step')
  assert burst['outcomes'] == {}
  assert str(runs.parent) not in json.dumps([base, slow, burst])  # no place of this machine


@GROUP
def test_the_program_goes_on_and_reports(ran, tmp_path):
  _, runs, records = ran
  config = f'--config={pathlib.Path(records).parent / "rates.py"}'
  again = program.run(
    config, '--mode=sweep', '--run', f'--workdir={runs}', f'--records={records}', '--minutes=1'
  )
  assert 'finished: 3 of 3 points' in again.stdout, again.stderr
  told = program.run(config, '--mode=report', f'--records={records}', f'--output={tmp_path}')
  assert 'A slow rate learns less\n  too few runs' in told.stdout, told.stderr
  assert (tmp_path / 'index.html').exists()


@GROUP
@pytest.mark.parametrize('change', [{'package': 'other'}, {'versions': {'jax': '1'}}])
def test_no_point_runs_beside_records_that_it_cannot_be_compared_with(ran, tmp_path, change):
  experiment, _, records = ran
  first = experiment.points[0].key
  told = json.loads((records / first / result.NAME).read_text()) | change
  kept = epath.Path(tmp_path / 'records')
  (kept / first).mkdir(parents=True)
  (kept / first / result.NAME).write_text(json.dumps(told))
  with pytest.raises(InputError, match=rf'is of other code \({next(iter(change))} '):
    sweep.run(experiment, epath.Path(tmp_path / 'runs'), kept)
  assert not (tmp_path / 'runs').exists()


@GROUP
def test_no_point_runs_beside_records_of_other_data(ran, tmp_path):
  experiment, _, records = ran
  first = experiment.points[0].key
  told = json.loads((records / first / result.NAME).read_text())
  told['data']['test[:50]'] = 'other'
  kept = epath.Path(tmp_path / 'records')
  (kept / first).mkdir(parents=True)
  (kept / first / result.NAME).write_text(json.dumps(told))
  with pytest.raises(InputError, match=r"is of other examples in 'test\[:50\]', so no report"):
    sweep.run(experiment, epath.Path(tmp_path / 'runs'), kept)


@GROUP
def test_records_count_wherever_they_lie(ran, tmp_path):
  experiment, _, records = ran
  kept = epath.Path(tmp_path / 'records')
  for number, point in enumerate(experiment.points):  # as --mode=train --sweep=N leaves them
    shutil.copytree(records / point.key, kept / f'sweep_{number}')
  assert sweep.run(experiment, epath.Path(tmp_path / 'runs'), kept)['finished'] == '3 of 3 points'
  assert not (tmp_path / 'runs').exists()


@GROUP
def test_a_record_is_of_the_fields_and_the_processors_that_trained(ran, tmp_path):
  experiment, runs, _ = ran
  point = experiment.points[0]
  copy = epath.Path(shutil.copytree(runs / point.key, tmp_path / 'run'))
  lines = (copy / 'starts.jsonl').read_text().splitlines()
  other = json.loads(lines[0]) | {'processor': '2 cores of Another'}
  (copy / 'starts.jsonl').write_text('\n'.join([json.dumps(other), *lines]) + '\n')
  sweep.train(point, 'rates', copy, epath.Path(tmp_path / 'record'))
  told = json.loads((tmp_path / 'record' / result.NAME).read_text())
  assert told['processor'] == f'2 cores of Another; {origin.processor()}'
  config = point.config.copy_and_resolve_references()
  config.log.every = '1 steps'  # some outcomes are means of records
  changed = point._replace(config=config)
  with pytest.raises(InputError, match=r"holds a run with config.log.every='2 steps'"):
    sweep.train(changed, 'rates', copy, epath.Path(tmp_path / 'other'))


@GROUP
def test_a_run_of_other_code_gets_no_record(ran, tmp_path):
  experiment, runs, _ = ran
  key = experiment.points[0].key
  copy = epath.Path(shutil.copytree(runs / key, tmp_path / 'runs' / key).parent)
  path = copy / key / 'starts.jsonl'
  path.write_text(path.read_text().replace(origin.package(), 'other'))
  with pytest.raises(InputError, match=r'holds a run of other code \(package other'):
    sweep.run(experiment, copy, epath.Path(tmp_path / 'records'))
  assert not (tmp_path / 'records').exists()


def repeated(results, seeds=3, **changes):
  """Records as of several seeds, their outcomes a little apart."""
  found = []
  for seed in range(seeds):
    for x in results:
      told = json.loads(json.dumps(x.content)) | {'parts': {'net': 'one'}} | changes
      told['config']['seed'] = told['seed'] = seed
      told['outcomes'] = {name: y * (1 + 0.001 * seed) for name, y in told['outcomes'].items()}
      found.append(x._replace(content=told))
  return found


@pytest.fixture(scope='module')
def many(ran):
  """The same experiment with three seeds, and records of them."""
  experiment, _, records = ran
  path = pathlib.Path(records).parent / 'rates.py'
  points = [
    design.point(experiment.points[0].config, {**fields, 'seed': seed})
    for seed in range(3)
    for fields in config_files.points(str(path))
  ]
  results = repeated(result.read(records))
  by_seed = {(x.arm, x.config.seed): x.key for x in points}
  for x in results:
    x.content['key'] = by_seed[x.content['arm'], x.content['seed']]
  return experiment._replace(points=tuple(points)), results


@GROUP
def test_a_report_compares_the_arms(many):
  experiment, results = many
  comparison = report.compare(experiment, results)
  assert comparison.control == 'base'
  assert comparison.findings[0].verdict == 'supported'
  assert comparison.arms['burst'].failed == 3
  values = comparison.arms['slow'].values('train_loss')
  others = comparison.arms['base'].values('train_loss')
  first = comparison.findings[0].difference
  assert first.value == pytest.approx(np.mean(values) - np.mean(others))
  # Two outcomes share the 5%.
  interval = stats.ttest_ind(values, others).confidence_interval(0.975)
  np.testing.assert_allclose((first.low, first.high), interval)
  rows = report.table(comparison).rows
  assert [row[:2] for row in rows[:2]] == [(rows[0][0], 'base'), (rows[0][0], 'slow')]
  assert 'claim 1: supported' in rows[1]


@GROUP
def test_no_verdict_from_fewer_than_three_seeds(many):
  experiment, results = many
  fewer = [x for x in results if x.content['seed'] < 2]
  assert {x.verdict for x in report.compare(experiment, fewer).findings} == {'not yet run'}
  assert {x.verdict for x in report.compare(experiment, []).findings} == {'not yet run'}
  nothing = report.compare(experiment, [])
  assert page.draw(nothing) == []
  page.index(nothing, [])


@GROUP
@pytest.mark.parametrize(
  ('change', 'text'),
  [
    ({'package': 'other'}, 'are of different package'),
    ({'versions': {'jax': '1'}}, 'are of different versions'),
    ({'data': {'test[:50]': 'other'}}, r"different examples in 'test\[:50\]'"),
    ({'parts': {'net': 'other'}}, 'are of different code in net'),
    ({'key': 'other', 'config': {}}, 'another run of arm'),  # its arm and seed are the same
    ({'experiment': 'other', 'config': {}}, 'another run of arm'),  # found by its key
  ],
)
def test_records_that_cannot_be_compared_are_refused(many, change, text):
  experiment, results = many
  odd = results[-3]._replace(content=results[-3].content | change)
  assert not odd.content['failed']
  with pytest.raises(InputError, match=text):
    report.compare(experiment, [*results[:-3], odd, *results[-2:]])


@GROUP
def test_a_page_is_the_same_bytes_each_time_and_needs_no_other_file(many, tmp_path):
  experiment, results = many
  for name in ('one', 'two'):
    page.save(report.compare(experiment, results), epath.Path(tmp_path / name))
  names = {x.name for x in (tmp_path / 'one').iterdir()}
  pictures = {x for x in names if x.endswith('.svg')}
  assert pictures >= {'curves.svg', 'gradients.svg', 'test_top1.svg'} and len(pictures) == 4
  tables = {f'{x}.{y}' for x in ('claims', 'table') for y in ('csv', 'json', 'md')}
  assert names == {'index.html', *tables, *pictures}
  for name in names:
    assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
  text = (tmp_path / 'one/index.html').read_text()
  assert not re.search(r'<script|src=|<link|@import|url\(http', text)
  assert text.count('<svg') == 4
  json.loads((tmp_path / 'one/table.json').read_text())


@GROUP
@pytest.mark.skipif(not shutil.which('chromium'), reason='no chromium')
def test_a_browser_shows_the_page(many, tmp_path):
  experiment, results = many
  page.save(report.compare(experiment, results), epath.Path(tmp_path))
  command = ['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom']
  shown = subprocess.run(
    [*command, (tmp_path / 'index.html').as_uri()], capture_output=True, text=True, timeout=120
  ).stdout
  assert 'A slow rate learns less' in shown
  assert shown.count('<svg') == 4


@GROUP
def test_layers_of_other_names_have_no_common_picture(many):
  experiment, results = many
  odd = results[0]._replace(content=results[0].content | {'norms': {'conv1': 1.0, 'other': 1.0}})
  assert odd.content['norms'] != results[0].content['norms']
  names = [x.name for x in page.draw(report.compare(experiment, [odd, *results[1:]]))]
  assert 'curves' in names and 'gradients' not in names


@GROUP
def test_any_runs_have_a_leaderboard(ran, tmp_path):
  _, runs, _ = ran
  leaderboard.save([runs], epath.Path(tmp_path))
  rows = json.loads((tmp_path / 'table.json').read_text())['rows']
  assert {row['what differs'] for row in rows} == {'optimizer.lr=0.01', 'optimizer.lr=0.0001'}
  assert [row['runs'] for row in rows] == [1, 1]
  other = epath.Path(tmp_path / 'other')
  for run in leaderboard._finished(runs):
    shutil.copytree(run, other / run.name)
    path = other / run.name / 'summary.json'
    told = json.loads(path.read_text())
    told['data']['test[:50]'] = 'other'
    path.write_text(json.dumps(told))
  del told['data']  # runs of earlier commits have none
  old = epath.Path(shutil.copytree(other / run.name, tmp_path / 'old' / run.name))
  (old / 'summary.json').write_text(json.dumps(told))
  assert leaderboard.table([old]).rows
  rows = leaderboard.table([runs, other]).rows  # not means over two sets
  assert [row[1] for row in rows] == [1, 1, 1, 1] and all('data ' in row[0] for row in rows)
  with pytest.raises(InputError, match='no finished run is there'):
    leaderboard.table([epath.Path(tmp_path / 'none')])


@GROUP
def test_runs_that_differ_by_their_seed_are_a_row_of_the_leaderboard(ran, tmp_path):
  _, runs, _ = ran
  run = leaderboard._finished(runs)[0]
  scores = {'a': (0.005, (0.70, 0.72, 0.77)), 'b': (0.3, (0.9,))}
  for name, (lr, reached) in scores.items():
    for seed, top1 in enumerate(reached):
      folder = pathlib.Path(shutil.copytree(run, tmp_path / f'{name}_{seed}'))
      config = json.loads((folder / 'config.json').read_text())
      config['seed'], config['optimizer']['lr'] = seed, lr
      (folder / 'config.json').write_text(json.dumps(config))
      told = json.loads((folder / 'summary.json').read_text())
      told |= {'test_top1': top1, 'images_per_second': 10.0 + seed, 'seconds': 60 + 60 * seed}
      (folder / 'summary.json').write_text(json.dumps(told))
  best, other = leaderboard.table([epath.Path(tmp_path)]).rows
  assert best[:5] == ('optimizer.lr=0.3', 1, '90.00', 90.0, None)
  # By hand: the mean is 73, and the squares of -3, -1 and 4 are 26 together, over 2.
  assert other[:5] == ('optimizer.lr=0.005', 3, '70.00 72.00 77.00', 73.0, 3.61)
  assert other[-2:] == (11.0, 2.0)


def test_what_is_lost_by_a_shift_is_of_the_image_alone():
  summary = {'test_top1': 0.80, 'test_top1_unflipped': 0.78, 'test_loss': 1.0}
  summary |= {'test_top1_shift_2': 0.77, 'test_top1_shift_10': 0.7}
  course = types.SimpleNamespace(summary=summary)
  assert outcomes._lost_by_shifting(course) == pytest.approx(8)
  del summary['test_top1_unflipped']  # a run without flips
  assert outcomes._lost_by_shifting(course) == pytest.approx(10)


@pytest.mark.parametrize(
  ('old', 'new', 'text'),
  [
    ("'slow': {'optimizer.lr': 1e-4}", "'slow': {}", 'is the same run as that of'),
    ("'us', 'slow'", "'us', 'slo'", "there is no 'slo'; did you mean slow"),
    ("'train_loss'", "'train_los'", "there is no 'train_los'; did you mean train_loss"),
    ("'higher'", "'above'", 'use one of higher, lower, equal'),
    ("'optimizer.lr'", "'optimizer.rate'", 'config.optimizer.rate: no such field'),
  ],
)
def test_an_experiment_that_cannot_be_is_told(tmp_path, old, new, text):
  (tmp_path / 'odd.py').write_text(FILE.replace(old, new))
  path = str(tmp_path / 'odd.py')
  with pytest.raises(InputError, match=text):
    design.load(path, config_files.load(path))
