# UVO 1.0, its densely annotated videos: the categories of COCO and "other". Both files have
# annotations.
_base_ = './youtube-vis.py'

data_root = 'data/uvo/'
hint = (
    'UVO has to be downloaded by hand from '
    'https://sites.google.com/view/unidentified-video-object; '
    'put VideoDenseSet and the frames that its scripts cut from the videos of Kinetics '
    '(uvo_videos_dense_frames) into data/uvo, or set data_root.'
)

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='VideoDenseSet/UVO_video_train_dense_with_label.json',
        data_prefix=dict(img='uvo_videos_dense_frames'),
        hint=hint,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='VideoDenseSet/UVO_video_val_dense_with_label.json',
        data_prefix=dict(img='uvo_videos_dense_frames'),
        hint=hint,
    )
)
test_dataloader = val_dataloader
