import json

import pytest
from mmengine.registry import DefaultScope

from tests.datasets.annotation_contents import changed, good_content
from vispropnet.datasets.categories import (
    annotation_files,
    chosen_classes,
    labels_of,
    odd_names,
    select_categories,
    use_classes,
)
from vispropnet.datasets.configured_categories import (
    check_scored_file,
    configured_categories,
    fill_num_classes,
)
from vispropnet.errors import UserError
from vispropnet.registry import DATASETS

FILE = {7: 'disc', 2: 'star', 9: 'ring'}


@pytest.mark.parametrize(
    ('category_map', 'classes', 'taken'),
    [
        (None, None, FILE),
        (None, ('ring', 'disc'), {9: 'ring', 7: 'disc'}),
        ({'disc': 'star', 'star': 'disc'}, None, {7: 'star', 2: 'disc', 9: 'ring'}),
        ({'disc': 'round', 'ring': 'round'}, ('round',), {7: 'round', 9: 'round'}),
        ({'star': 5}, ('5',), {2: '5'}),  # as a command line gives it
        ({'str': 'x'}, None, r"category_map: .* no category 'str'.* 'star'"),
        (
            None,
            ('star', 'sun'),
            r"metainfo\.classes: .* no category 'sun'; it has disc, star, ring",
        ),
        ({'star': 'sun'}, ('star',), "no category 'star'; it has disc, sun, ring"),
        (None, (), 'must be different names'),
        (None, ('star', 'star'), 'must be different names'),
        ('star', None, 'category_map must be as dict'),
    ],
)
def test_categories_that_are_taken(category_map, classes, taken):
    if isinstance(taken, str):
        with pytest.raises(UserError, match=f'^a.json: .*{taken}'):
            select_categories(FILE, category_map, classes, 'a.json')
    else:
        assert list(select_categories(FILE, category_map, classes).items()) == list(taken.items())


def test_names_that_are_odd():
    names = {1: 'star', 4: 'disc', 3: 'star', 6: '', 5: ' '}
    assert list(select_categories(names).values()) == ['star', 'disc', 'star (2)', '', ' ']
    found = odd_names(names)
    assert list(found) == [3, 6, 5] and found[6] == 'the name is empty'
    assert found[3].startswith("the name 'star' is that of category 1 already") and not odd_names(
        FILE
    )


def test_forms_of_metainfo(tmp_path):
    (tmp_path / 'names.txt').write_text('star\ndisc\n')
    for classes in (['star', 'disc'], ('star', 'disc'), str(tmp_path / 'names.txt')):
        assert chosen_classes(dict(classes=classes)) == ('star', 'disc')
    assert chosen_classes(dict(CLASSES='star')) == ('star',)
    assert chosen_classes(dict(classes=5)) == ('5',)
    assert chosen_classes(None) is chosen_classes(dict(palette=[])) is None
    with pytest.raises(UserError, match='metainfo must be as'):
        chosen_classes('star')


def test_labels_of_a_model():
    model = ('star', 'tri angle', 'disc', 'ring')
    assert labels_of(['ring', 'star'], model) == [3, 0]
    words = (
        r'^a\.json: categories that the model does not know: tri-angle, x\. The model knows star, '
        r'tri angle, disc, ring; of these the file lacks tri angle, ring\. Either say in its data '
        r"set which are the same, category_map=dict\(old='new'\): \{'tri-angle': 'tri angle'\}, or "
        r"--cfg-options 'val\.dataset\.category_map\.tri-angle=tri angle'; or leave the objects of "
        r"the others out, metainfo=dict\(classes=\('disc', 'star'\)\), or --cfg-options "
        r"'val\.dataset\.metainfo\.classes=\[disc,star\]'\.$"
    )
    with pytest.raises(UserError, match=words):
        labels_of(['tri-angle', 'disc', 'x', 'star'], model, 'val.dataset', 'a.json')
    # What the model learned is all there: the others are rather to be left out.
    for names, words in (
        (['sun'], r"dict\(sun='star'\)\.$"),
        (['sun', 'star'], 'Either leave the'),
    ):
        with pytest.raises(UserError, match=words):
            labels_of(names, ('star',))


@pytest.fixture
def files(tmp_path):
    """The small file; one with its categories reversed, another name, and the same ids."""
    other = changed('set categories [{"id": 40, "name": "sun"}, {"id": 11, "name": "disc"}]')
    for name, content in (('a.json', good_content()), ('b.json', other)):
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def config_of(files, name, **options):
    base = dict(type='YouTubeVIS', data_root=str(files), ann_file=name, pipeline=[])
    return dict(base, **options)


def labels_in(dataset):
    """Labels of the objects in all frames, and the video and category ids beside them."""
    frames = map(dataset.get_data_info, range(4))
    return [
        (info['video_id'], one['bbox_label'], info['category_ids'])
        for info in frames
        for one in info['instances']
    ]


@pytest.mark.parametrize(
    ('options', 'classes', 'ids', 'labels'),
    [
        ({}, ('disc', 'star'), (40, 11), [1, 0, 0, 1, 0, 0]),
        (
            dict(metainfo=dict(classes=('star', 'disc'))),
            ('star', 'disc'),
            (11, 40),
            [0, 1, 1, 0, 1, 1],
        ),
        ({'metainfo': {'classes': ['star']}}, ('star',), (11,), [0, 0]),
        (dict(category_map=dict(disc='star')), ('star',), (40,), [0] * 6),
    ],
)
def test_labels_of_a_data_set(files, options, classes, ids, labels):
    dataset = DATASETS.build(config_of(files, 'a.json', test_mode=True, **options))
    assert (dataset.metainfo['classes'], dataset.metainfo['category_ids']) == (classes, ids)
    assert [one[1] for one in labels_in(dataset)] == labels
    # Then those of a model, more than once.
    for model in (('star', 'disc', 'ring'), ('ring', 'disc', 'star')):
        use_classes(dataset, model)
        found = [model[one[1]] for one in labels_in(dataset)]
        assert found == [classes[one] for one in labels]
        expected = dict(zip(classes, ids, strict=True))
        assert dataset.metainfo['category_ids'] == tuple(map(expected.get, model))
    with pytest.raises(UserError, match=r'a\.json: categories that the model does not know'):
        use_classes(dataset, ['ring'])


def test_objects_left_out_are_counted(files, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'vispropnet.datasets.ytvis.print_log', lambda text, **_: logged.append(text)
    )
    DATASETS.build(config_of(files, 'a.json', metainfo=dict(classes=['star'])))
    assert len(logged) == 1 and 'leaves out 2 of 3 objects' in logged[0]


def test_joined_data_sets(files):
    one = config_of(files, 'a.json')
    two = config_of(files, 'b.json', category_map=dict(disc='plate'))
    both = dict(type='ConcatDataset', datasets=[one, two])
    with DefaultScope.overwrite_default_scope('vispropnet'):
        dataset = DATASETS.build(dict(type='RepeatDataset', times=2, dataset=both))
    joined = dataset.dataset
    assert (
        dataset.metainfo['classes']
        == joined.metainfo['classes']
        == ('disc', 'star', 'sun', 'plate')
    )
    assert joined.metainfo['category_ids'] == (1, 2, 3, 4)  # those of the files are not distinct
    assert annotation_files(dataset) == [str(files / 'a.json'), str(files / 'b.json')]
    assert [one.metainfo['category_ids'] for one in joined.datasets] == [
        (40, 11, None, None), (None, None, 40, 11)
    ]  # fmt: skip
    assert [[one[1] for one in labels_in(part)] for part in joined.datasets] == [
        [1, 0, 0, 1, 0, 0], [3, 2, 2, 3, 2, 2]
    ]  # fmt: skip
    assert joined.get_cat_ids(0) == [1, 0] and joined.get_cat_ids(4) == [3, 2]
    assert list(configured_categories(dict(dataset=both))) == ['disc', 'star', 'sun', 'plate']
    # A file of one category alone keeps its id.
    same = DATASETS.build(dict(type='ConcatDataset', datasets=[one, one]))
    assert same.metainfo == dict(classes=('disc', 'star'), category_ids=(40, 11))


def test_scoring_against_another_file(files):
    dataset = DATASETS.build(config_of(files, 'a.json', test_mode=True))
    swapped = changed('set categories [{"id": 11, "name": "disc"}, {"id": 40, "name": "star"}]')
    for content in (changed('del categories/0'), changed('del categories/1/name')):
        (files / 'c.json').write_text(json.dumps(content))
        check_scored_file(files / 'c.json', dataset)
    (files / 'c.json').write_text(json.dumps(swapped))
    with pytest.raises(
        UserError, match=r"c\.json .* category 11 is 'disc', which is 'star' in .*a\.json"
    ):
        check_scored_file(files / 'c.json', dataset)


def test_number_of_classes_from_the_data(files):
    heads = [dict(num_classes='auto'), dict(num_classes=7)]
    model = dict(heads=heads, backbone=dict(num_classes=1000), rpn_head=dict(num_classes=1))
    cfg = dict(model=model, train_dataloader=dict(dataset=config_of(files, 'a.json')))
    fill_num_classes(cfg)
    assert heads == [dict(num_classes=2), dict(num_classes=7)]
    heads[0]['num_classes'] = 'auto'
    fill_num_classes(cfg, lambda: ('a', 'b', 'c'))
    assert heads[0]['num_classes'] == 3
    heads[0]['num_classes'] = 'auto'
    with pytest.raises(UserError, match="num_classes='auto' takes the number of categories from"):
        fill_num_classes(dict(model=model), lambda: None)
