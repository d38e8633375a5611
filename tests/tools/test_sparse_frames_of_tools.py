"""Tools and validation take the rule for frames that are not annotated."""

import json

from tests.datasets.annotation_contents import sparse_content, sparse_results
from vispropnet.evaluation.tracks import TrackStore
from vispropnet.evaluation.ytvis_metric import YouTubeVISMetric


def test_tools_and_validation_take_the_rule(tmp_path, tool):
    path, result_path = tmp_path / 'ann.json', tmp_path / 'results.json'
    path.write_text(json.dumps(sparse_content()))
    result_path.write_text(json.dumps(sparse_results()))
    tracks = TrackStore()
    tracks.extend(sparse_results())
    for rule, score, warned in (((), '0.0000', True), (('--annotated-only',), '1.0000', False)):
        status, out, _ = tool(path, result_path, *rule, file='eval_vis.py')
        assert (status, f'AP      {score}' in out) == (0, True)
        assert ('warning: ' in out) == warned
        status, out, _ = tool('--ann', path, *rule, file='check_data.py')
        assert (status, 'sparse frames' in out) == (0, warned)
        metric = YouTubeVISMetric(str(path), annotated_only=bool(rule))
        assert metric.compute_metrics(tracks)['mAP'] == float(score)
        # A config has it at the evaluator, for all data sets of the file.
        config = tmp_path / 'config.py'
        config.write_text(f"""
one = dict(type='YouTubeVIS', ann_file='{path}')
train_dataloader = dict(dataset=dict(one, category_map=dict()))
val_dataloader = dict(dataset=one)
val_evaluator = dict(type='YouTubeVISMetric', annotated_only={bool(rule)})
""")
        _, out, _ = tool(config, file='check_data.py')
        assert ('warning: sparse frames (2)' in out, 'sparse frames' in out) == (warned, warned)
