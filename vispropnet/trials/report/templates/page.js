'use strict';
(() => {
  const LEAST_WIDTH = 480; // pixels of a panel, so that outlines and numbers are fine on small frames
  const FRAMES_A_SECOND = 6;
  const OUTLINE = 2;
  const TEXT = 11; // pixels of the screen
  const FILL = 0.45;
  const MUTING = 0.7; // of the frame's hue inside a mask, so that the fill has the hue of the track

  window.addEventListener('error', (event) => {
    document.body.dataset.error = event.message;
  });
  window.addEventListener('unhandledrejection', (event) => {
    document.body.dataset.error = String(event.reason);
  });

  /** Decodes compressed COCO counts into the pixels of a mask, row by row. */
  function decode(counts, width, height) {
    const runs = [];
    for (let at = 0; at < counts.length;) {
      let value = 0;
      let group;
      let shift = 0;
      do {
        group = counts.charCodeAt(at++) - 48;
        value |= (group & 31) << shift;
        shift += 5;
      } while (group & 32);
      if (group & 16 && shift < 32) value |= -1 << shift;
      if (runs.length > 2) value += runs[runs.length - 2];
      runs.push(value);
    }
    const mask = new Uint8Array(width * height);
    let begin = 0;
    runs.forEach((run, index) => {
      for (let place = begin; index % 2 && place < begin + run; place++) {
        mask[(place % height) * width + Math.floor(place / height)] = 1;
      }
      begin += run;
    });
    return mask;
  }

  /** The box of a mask, ends exclusive; null if it is empty. */
  function boxOf(mask, width, height) {
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (!mask[y * width + x]) continue;
        left = Math.min(left, x);
        right = Math.max(right, x + 1);
        top = Math.min(top, y);
        bottom = y + 1;
      }
    }
    return right ? { left, top, right, bottom } : null;
  }

  /** Blends a mask into the pixels of a panel, which is `scale` times as large. */
  function paint(image, mask, box, width, height, scale, color, carried) {
    const reach = Math.max(1, Math.round(OUTLINE / scale));
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
    for (let y = box.top; y < box.bottom; y++) {
      for (let x = box.left; x < box.right; x++) {
        if (!mask[y * width + x]) continue;
        const edge = !(inside(x - reach, y) && inside(x + reach, y)
          && inside(x, y - reach) && inside(x, y + reach));
        for (let row = y * scale; row < (y + 1) * scale; row++) {
          for (let column = x * scale; column < (x + 1) * scale; column++) {
            const stripe = carried && (row + column) % 14 < 4;
            const dash = carried && (row + column) % 14 >= 7;
            const share = edge ? 1 : carried ? (stripe ? 0.8 : 0.25) : FILL;
            const at = 4 * (row * image.width + column);
            const gray = 0.299 * image.data[at] + 0.587 * image.data[at + 1]
              + 0.114 * image.data[at + 2];
            for (let channel = 0; channel < 3; channel++) {
              const below = image.data[at + channel] * (1 - MUTING) + gray * MUTING;
              const above = edge && dash ? 255 : color[channel];
              image.data[at + channel] = below + share * (above - below);
            }
          }
        }
      }
    }
  }

  /** Writes the numbers of objects beside them, where they do not cover each other. */
  function writeNumbers(context, labels) {
    const { width, height, clientWidth } = context.canvas;
    const taken = [];
    // Readable however small the panel is shown.
    const size = Math.max(16, Math.round((TEXT * width) / (clientWidth || width)));
    const h = Math.round(1.2 * size);
    context.font = `bold ${size}px system-ui, sans-serif`;
    context.textBaseline = 'middle';
    for (const { text, color, box } of labels) {
      const w = context.measureText(text).width + size / 2;
      const middle = (box.top + box.bottom - h) / 2;
      const places = [[box.left, box.top - h], [box.left, box.bottom], [box.right, middle],
        [box.left - w, middle], [box.left, box.top]].map(([x, y]) => [
        Math.min(Math.max(0, x), width - w), Math.min(Math.max(0, y), height - h)]);
      const free = ([x, y]) => taken.every((one) => x + w <= one.x || one.x + one.w <= x
        || y + h <= one.y || one.y + h <= y);
      const [x, y] = places.find(free) || places[0];
      taken.push({ x, y, w });
      context.fillStyle = `rgb(${color})`;
      context.fillRect(x, y, w, h);
      const bright = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] > 120;
      context.fillStyle = bright ? '#111' : '#fff';
      context.fillText(text, x + size / 4, y + h / 2 + 1);
    }
  }

  function element(kind, parent, text, attributes = {}) {
    const made = document.createElement(kind);
    if (text) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  function makePanel(video, panel, parent, scale) {
    const figure = element('figure', parent, '', { class: 'panel' });
    const caption = element('figcaption', figure);
    element('span', caption, panel.title);
    element('span', caption, panel.score === null ? '' : `score ${panel.score.toFixed(2)}`);
    const canvas = element('canvas', figure, '', {
      role: 'img', width: video.width * scale, height: video.height * scale,
    });
    const list = element('ul', figure);
    const items = panel.tracks.map((track) => {
      const score = track.score === null ? '' : ` ${track.score.toFixed(2)}`;
      const item = element('li', list, `#${track.number} ${track.label}${score}`);
      item.style.setProperty('--track', `rgb(${track.color})`);
      return item;
    });
    const context = canvas.getContext('2d', { willReadFrequently: true });
    return (picture, frame) => {
      context.drawImage(picture, 0, 0, canvas.width, canvas.height);
      const shown = panel.tracks.filter((track) => track.masks[frame]).map((track) => {
        const mask = decode(track.masks[frame], video.width, video.height);
        const area = mask.reduce((sum, one) => sum + one, 0);
        return { track, mask, area, box: boxOf(mask, video.width, video.height) };
      }).filter((one) => one.box);
      // Small objects are painted last, so that large ones do not hide them.
      shown.sort((one, other) => other.area - one.area);
      const image = context.getImageData(0, 0, canvas.width, canvas.height);
      for (const { track, mask, box } of shown) {
        paint(image, mask, box, video.width, video.height, scale, track.color,
          track.carried[frame]);
      }
      context.putImageData(image, 0, 0);
      writeNumbers(context, shown.map(({ track, box }) => ({
        text: `#${track.number}`,
        color: track.color,
        box: {
          left: box.left * scale, top: box.top * scale,
          right: box.right * scale, bottom: box.bottom * scale,
        },
      })));
      const present = new Set(shown.map((one) => one.track));
      panel.tracks.forEach((track, index) => {
        items[index].classList.toggle('away', !present.has(track));
      });
      const names = shown.map(({ track }) => `#${track.number} ${track.label}`).join(', ');
      canvas.setAttribute('aria-label',
        `${panel.title}, frame ${video.numbers[frame]}: ${names || 'no objects'}`);
    };
  }

  function makeVideo(video, parent) {
    const scale = Math.max(1, Math.ceil(LEAST_WIDTH / video.width));
    const article = element('article', parent, '', { class: 'video' });
    element('h3', article, video.name);
    const controls = element('div', article, '', { class: 'controls' });
    const button = element('button', controls, 'Play', { type: 'button' });
    const last = video.frames.length - 1;
    const slider = element('input', controls, '', {
      type: 'range', min: 0, max: last, value: 0, step: 1, 'aria-label': `Frame of ${video.name}`,
    });
    const output = element('output', controls, '', { 'aria-live': 'off' });
    const panels = element('div', article, '', { class: 'panels' });
    const draws = video.panels.map((panel) => makePanel(video, panel, panels, scale));
    const pictures = new Map();

    function pictureOf(frame) {
      if (!pictures.has(frame)) {
        pictures.set(frame, new Promise((resolve, reject) => {
          const picture = new Image();
          picture.onload = () => resolve(picture);
          picture.onerror = () => reject(new Error(`${video.name}: a frame cannot be shown`));
          picture.src = `data:image/jpeg;base64,${video.frames[frame]}`;
        }));
      }
      return pictures.get(frame);
    }

    async function show() {
      const frame = Number(slider.value);
      const text = `frame ${video.numbers[frame]} of ${video.total}`;
      output.textContent = text;
      slider.setAttribute('aria-valuetext', text);
      const picture = await pictureOf(frame);
      // The slider may have moved on while the picture was loaded.
      if (frame === Number(slider.value)) draws.forEach((draw) => draw(picture, frame));
    }

    let timer = null;
    function stop() {
      clearInterval(timer);
      timer = null;
      button.textContent = 'Play';
    }
    button.addEventListener('click', () => {
      if (timer !== null) return stop();
      button.textContent = 'Pause';
      timer = setInterval(() => {
        slider.value = Number(slider.value) === last ? 0 : Number(slider.value) + 1;
        show();
      }, 1000 / FRAMES_A_SECOND);
    });
    slider.addEventListener('input', () => {
      stop();
      show();
    });
    button.disabled = slider.disabled = last === 0;
    return show();
  }

  const data = document.getElementById('gallery-data');
  const parent = document.getElementById('videos');
  const videos = data ? JSON.parse(data.textContent) : [];
  Promise.all(videos.map((video) => makeVideo(video, parent))).then(() => {
    document.body.dataset.ready = String(videos.length);
  });
})();
