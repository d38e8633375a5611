"""The page in a browser: does its script run, and does it draw what it should?"""

import json
import re
import shutil
import subprocess

import pytest

from tests.trials.example import full_table
from tests.visualization.blocks import HEIGHT, WIDTH, write_files
from vispropnet.trials.report.page import write_report

CHROMIUM = shutil.which('chromium')
SWITCHES = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
    *('--disable-dev-shm-usage', '--virtual-time-budget=10000', '--window-size=500,900'),
)
# Reads pixels of the panels once all is drawn, and again once the moved slider has taken effect.
PROBE = """<script>
const read = (panel, x, y) => [...document.querySelectorAll('canvas')[panel].getContext('2d')
  .getImageData(x, y, 1, 1).data.slice(0, 3)];
const until = (met) => new Promise((resolve) => {
  const timer = setInterval(() => met() && (clearInterval(timer), resolve()), 20);
});
(async () => {
  await until(() => document.body.dataset.ready);
  const canvas = document.querySelector('canvas');
  const found = {
    size: [canvas.width, canvas.height],
    empty: read(0, 240, 20),
    objects: [read(0, 80, 140), read(0, 360, 140)],
    trials: [read(1, 370, 140), read(2, 84, 140)],
    labels: [...document.querySelectorAll('.panel')].slice(0, 3).map(
      (panel) => [...panel.querySelectorAll('li')].map((item) => item.textContent)),
    wide: document.documentElement.scrollWidth > innerWidth,
  };
  const slider = document.querySelector('input');
  slider.value = slider.max;
  slider.dispatchEvent(new Event('input'));
  await until(() => canvas.getAttribute('aria-label').includes('frame 3'));
  found.moved = read(0, 240, 20);
  found.output = document.querySelector('output').textContent;
  document.body.dataset.found = JSON.stringify(found);
})();
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason='chromium, which opens the page, is not installed')
def test_the_gallery_is_drawn(tmp_path):
    write_files(tmp_path)
    results = {name: tmp_path / f'{name}.json' for name in 'ab'}
    path = tmp_path / 'report.html'
    write_report(path, full_table(), tmp_path / 'gt.json', tmp_path / 'images', results, None)
    path.write_text(path.read_text().replace('</body>', PROBE))
    command = [CHROMIUM, *SWITCHES, f'--user-data-dir={tmp_path / "profile"}', '--dump-dom']
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    body = re.search('<body[^>]*>', done.stdout).group()
    assert 'data-ready="5"' in body and 'data-error' not in body
    found = json.loads(re.search('data-found="([^"]*)"', body).group(1).replace('&quot;', '"'))
    assert found['size'] == [2 * WIDTH, 2 * HEIGHT]
    # Frames are of grey 100 and 140.
    assert found['empty'] == pytest.approx([100] * 3, abs=2)
    assert found['moved'] == pytest.approx([140] * 3, abs=2)
    # Gray 100 below 45 % of red (255, 70, 60) and of blue (40, 150, 255).
    red, blue = [170, 86, 82], [73, 122, 170]
    assert found['objects'] == [pytest.approx(red, abs=3), pytest.approx(blue, abs=3)]
    # The object has its colour in the trial that finds it. The second trial's mask is hatched: 80 %
    # of red or 25 %.
    first, second = found['trials']
    assert first == pytest.approx(blue, abs=3)
    assert any(second == pytest.approx(one, abs=3) for one in ([224, 76, 68], [139, 92, 90]))
    labels = '#1 cat|#2 cat', '#2 cat 0.90|#3 cat 0.80', '#1 cat 0.50|#3 cat 0.90'
    assert ['|'.join(panel) for panel in found['labels']] == list(labels)
    assert found['wide'] is False and found['output'] == 'frame 3 of 3'
