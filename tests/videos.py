"""Videos for tests: every frame shows its number."""

from fractions import Fraction

import av
import cv2
import numpy as np

from vispropnet.video import open_source

BITS = 10


def numbered_frame(number, size=(320, 180)):
    """(H, W, 3) BGR: ten wide stripes, white where the number has a bit, and a red bar below."""
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            frame[: height // 2, bit * width // BITS : (bit + 1) * width // BITS] = 255
    frame[height * 3 // 4 :, : width // 2] = (0, 0, 255)
    return frame


def number_of(frame):
    """The number that a frame shows, also of a frame that was scaled or is lossy."""
    height, width = frame.shape[:2]
    stripes = [frame[height // 4, (2 * bit + 1) * width // (2 * BITS)] for bit in range(BITS)]
    return sum(1 << bit for bit, stripe in enumerate(stripes) if stripe.mean() > 127)


def write_h264(
    path, frames, size=(320, 180), fps=25, faststart=False, sound=0, every_key=250, open_gop=None
):
    """Writes a video of numbered frames, in the container that the suffix names.

    Args:
        frames: Number of frames; or the times of the frames in milliseconds.
        faststart: Puts the index of an MP4 in front.
        sound: Seconds of silence that go with it.
        every_key: Longest way from one key frame to the next.
        open_gop: Has a key frame every so many frames that those in front of it refer to.
    """
    times = None if isinstance(frames, int) else list(frames)
    options = {'movflags': 'faststart'} if faststart else {}
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream('libx264', rate=Fraction(fps))
        stream.width, stream.height = size
        stream.pix_fmt = 'yuv420p'
        stream.gop_size = every_key
        stream.options = {'preset': 'ultrafast', 'bf': '2', 'crf': '30'}
        if open_gop is not None:
            stream.options['x264-params'] = f'open-gop=1:keyint={open_gop}:b-adapt=0:scenecut=0'
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        silent = container.add_stream('aac', rate=8000) if sound else None
        for number in range(frames if times is None else len(times)):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, size), format='bgr24')
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if silent is not None:
            _write_silence(container, silent, sound)
    return path


def write_uneven(path, times, codec, ticks, options, pixel_aspect=Fraction(1)):
    """Writes numbered frames at times in seconds, on a clock of so many ticks a second."""
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=ticks)
        stream.width, stream.height = 320, 180
        stream.pix_fmt = {'gif': 'rgb8', 'mjpeg': 'yuvj420p'}.get(codec, 'yuv420p')
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        for number, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format='bgr24')
            frame.pts, frame.time_base = round(seconds * ticks), Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path, seconds=1, cover=None):
    """Writes a file that holds only silence, and a PNG as its cover if there is one (``*.mka``)."""
    with av.open(str(path), 'w') as container:
        silent = container.add_stream('aac', rate=8000)
        if cover is not None:
            container.add_attachment('cover.png', 'image/png', cover)
        _write_silence(container, silent, seconds)
    return path


def trim_by_list(source, path, frames, fps=25):
    """Copies a video so that its first frames stay in it, but are not to be shown."""
    with av.open(str(source)) as given, av.open(str(path), 'w') as container:
        old = given.streams.video[0]
        new = container.add_stream_from_template(old)
        shift = int(Fraction(frames, fps) / old.time_base)
        for packet in given.demux(old):
            if packet.dts is not None:
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = new
                container.mux(packet)
    return path


def cut(source, path, share):
    """Copies the first part of a file."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def read_video(path):
    """All frames of a video, as OpenCV gives them."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while capture.grab():
        frames.append(capture.retrieve()[1])
    capture.release()
    return frames


def read_source(source, **options):
    """Positions of the frames, the numbers that they show, and the notes."""
    frames = open_source(source, **options)
    pairs = [(frame.index, number_of(frame.image)) for frame in frames]
    return [index for index, _ in pairs], [number for _, number in pairs], frames.notes()


def _write_silence(container, stream, seconds):
    samples = 1024
    for number in range(int(seconds * 8000 / samples)):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, samples), np.float32), format='fltp', layout='mono'
        )
        frame.sample_rate, frame.pts, frame.time_base = 8000, number * samples, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
