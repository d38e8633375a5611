"""Tools and validation take the rule for frames that are not annotated."""

import json

from tests.datasets.annotation_contents import sparse_content, sparse_results
from vispropnet.evaluation.tracks import TrackStore
from vispropnet.evaluation.ytvis_metric import YouTubeVISMetric


def test_tools_and_validation_take_the_rule(tmp_path, run_main):
    path, result_path = tmp_path / 'ann.json', tmp_path / 'results.json'
    path.write_text(json.dumps(sparse_content()))
    result_path.write_text(json.dumps(sparse_results()))
    tracks = TrackStore()
    tracks.extend(sparse_results())
    for rule, score, warned in (((), '0.0000', True), (('--annotated-only',), '1.0000', False)):
        status, out, _ = run_main('eval_vis', path, result_path, *rule)
        assert (status, f'AP      {score}' in out) == (0, True)
        assert ('warning: ' in out) == warned
        status, out, _ = run_main('check_data', '--ann', path, *rule)
        assert (status, 'sparse frames' in out) == (0, warned)
        metric = YouTubeVISMetric(str(path), annotated_only=bool(rule))
        assert metric.compute_metrics(tracks)['mAP'] == float(score)
