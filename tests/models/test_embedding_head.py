import pytest
import torch
from torch.nn import functional

from vispropnet.models.track_heads import embedding_head
from vispropnet.models.track_heads.embedding_head import EmbeddingHead, matching_logits


def test_logits_and_targets_have_a_column_for_new_objects():
    found = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    known = torch.tensor([[3.0, 1.0], [0.5, 0.5], [2.0, 0.0]])
    assert matching_logits(found, known).tolist() == [[0, 5, 1.5, 2], [0, -1, -0.5, 0]]
    assert matching_logits(found, known[:0]).tolist() == [[0], [0]]
    found, known = torch.tensor([7, 0, 5, 9]), torch.tensor([5, 7, 0])
    assert embedding_head.matching_targets(found, known).tolist() == [2, 3, 1, 0]
    assert embedding_head.matching_targets(found[:1], known[:0]).tolist() == [0]


def set_layers(head, *layers):
    """Gives the layers of a head their weights and biases."""
    for layer, (weight, bias) in zip(head.fcs, layers, strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)


def test_layers_by_hand_and_final_relu():
    head = EmbeddingHead(in_channels=1, roi_feat_size=1, num_fcs=2, fc_out_channels=2)
    set_layers(head, ([[1.0], [-1.0]], [0.0] * 2), ([[1.0, 1.0], [-2.0, 1.0]], [0.5, 0.0]))
    features = torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1)
    # 3 -> relu (3, 0) -> (3.5, -6); -1 -> relu (0, 1) -> (1.5, 1)
    assert head(features).tolist() == [[3.5, -6.0], [1.5, 1.0]]
    head.final_relu = True
    assert head(features).tolist() == [[3.5, 0.0], [1.5, 1.0]]


def test_weights_start_small():
    head = EmbeddingHead(in_channels=64, roi_feat_size=7, fc_out_channels=256)
    head.init_weights()
    for layer in head.fcs:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert layer.bias.abs().max() == 0


def test_loss_is_the_mean_over_images_of_the_mean_over_objects():
    head = EmbeddingHead(1, 1, 1, 1, loss_weight=2.0)
    found = [torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0]])]
    known = [torch.tensor([[0.5], [3.0]]), torch.tensor([[-1.0]])]
    ids = [torch.tensor([4, 9]), torch.tensor([1])]
    losses = head.loss_by_feat(found, known, ids, [torch.tensor([9, 4]), torch.tensor([2])])
    logits = torch.tensor([[0.0, 0.5, 3.0], [0.0, 1.0, 6.0]]), torch.tensor([[0.0, -1.0]])
    first = functional.cross_entropy(logits[0], torch.tensor([2, 1]))
    second = functional.cross_entropy(logits[1], torch.tensor([0]))
    assert losses['loss_match'].item() == pytest.approx((first + second).item(), rel=1e-6)
    # Right: the first object of the first image, and the new one of the second.
    assert losses['match_accuracy'].item() == pytest.approx(200 / 3)


@pytest.mark.parametrize(('found', 'known', 'accuracy'), [(0, 3, 0), (2, 0, 100), (0, 0, 0)])
def test_no_objects_or_references_give_zero_connected_to_the_graph(found, known, accuracy):
    """Objects without references are new."""
    head = EmbeddingHead(2, 1, 2, 4)
    embeddings = [head(torch.rand(count, 2, 1, 1)) for count in (found, known)]
    ids = [torch.arange(count) for count in (found, known)]
    losses = head.loss_by_feat(*([one] for one in (*embeddings, *ids)))
    assert losses['loss_match'].item() == 0 and losses['match_accuracy'].item() == accuracy
    losses['loss_match'].backward()
    assert all(one.grad is not None and one.grad.abs().sum() == 0 for one in head.parameters())


def test_half_precision_logits_do_not_overflow():
    found, known = torch.full((1, 64), 60.0).half(), torch.full((2, 64), 20.0).half()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = matching_logits(found, known)
    assert logits.tolist() == [[0, 76800, 76800]]  # float16 ends at 65504
    head = EmbeddingHead(1, 1, 1, 64)
    losses = head.loss_by_feat([found], [known], [torch.tensor([1])], [torch.tensor([1, 2])])
    # Two equal logits far above 0.
    assert losses['loss_match'].item() == pytest.approx(0.6931, abs=1e-3)


def test_embeddings_of_length_one_at_test_only():
    head = EmbeddingHead(1, 1, num_fcs=1, fc_out_channels=2, normalize_at_test=True)
    set_layers(head, ([[3.0], [-4.0]], [0.0] * 2))
    features = torch.tensor([2.0, 0.0]).reshape(2, 1, 1, 1)
    assert head(features).tolist() == [[6, -8], [0, 0]]
    # Nothing divides by the length of an embedding of zeros.
    torch.testing.assert_close(head.eval()(features), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))
    head.normalize_at_test = False
    assert head(features).tolist() == [[6, -8], [0, 0]]
