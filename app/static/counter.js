// The counter that the test pattern burns into each picture: where it lies and how it reads. The drawing side is
// the test source of the master; both divide the width by 40.

const COLUMNS = 32;
const ROWS = 4;
const MARGIN = 4; // cells left of the counter
const CELL = 4; // pixels a cell gets in the sampling canvas
const CHECK = 0x5a5a5a5a;
const THRESHOLD = 127; // grey of a cell: 255 is one, 0 is zero
const LUMA_THRESHOLD = 125; // luma of a cell: 235 is one, 16 is zero
const LATENCY_LIMIT_MS = 60_000;

/** Where the counter lies in a picture of `width` pixels, as drawImage wants it. */
export function counterArea(width) {
  const cell = Math.floor(width / 40);
  return { x: MARGIN * cell, y: cell, width: COLUMNS * cell, height: ROWS * cell };
}

/** Read `{frame, clock}` (both uint32; clock is milliseconds) from RGBA pixels of 32 by 4 cells; null when it is no counter. */
export function decodeCounter(pixels, cell = CELL) {
  const rows = [];
  for (let row = 0; row < ROWS; row += 1) rows.push(decodeRow(pixels, row, cell));
  return counterOf(rows);
}

function decodeRow(pixels, row, cell) {
  let value = 0;
  for (let column = 0; column < COLUMNS; column += 1) {
    value = (value << 1) | (meanOfCell(pixels, row, column, cell) > THRESHOLD ? 1 : 0);
  }
  return value >>> 0;
}

// The middle half of a cell only: its edges are blurred by chroma, scaling and compression.
function meanOfCell(pixels, row, column, cell) {
  const [from, to] = [Math.floor(cell / 4), Math.ceil((cell * 3) / 4)];
  let sum = 0;
  for (let y = from; y < to; y += 1) {
    for (let x = from; x < to; x += 1) {
      const at = 4 * ((row * cell + y) * COLUMNS * cell + column * cell + x);
      sum += pixels[at + 1]; // green carries most of the luma
    }
  }
  return sum / (to - from) ** 2;
}

/** What to copy of a luma plane for a picture of `width` pixels, on even borders; the counter begins `top` lines below. */
export function lumaArea(width) {
  const cell = Math.floor(width / 40);
  const y = cell - (cell % 2);
  return { x: MARGIN * cell, y, width: COLUMNS * cell, height: ROWS * cell + 2 * (cell % 2), top: cell - y, cell };
}

/** Read `{frame, clock}` from the luma bytes of a `lumaArea`, `stride` bytes a line; null when it is no counter. */
export function decodeLuma(luma, stride, { top, cell }) {
  const step = Math.max(1, Math.floor(cell / 8));
  const [from, to] = [Math.floor(cell / 4), cell - Math.floor(cell / 4)];
  const rows = [];
  for (let row = 0; row < ROWS; row += 1) {
    let value = 0;
    for (let column = 0; column < COLUMNS; column += 1) {
      let [sum, count] = [0, 0];
      for (let y = top + row * cell + from; y < top + row * cell + to; y += step) {
        for (let x = column * cell + from; x < column * cell + to; x += step) {
          sum += luma[y * stride + x];
          count += 1;
        }
      }
      value = (value << 1) | (sum > LUMA_THRESHOLD * count ? 1 : 0);
    }
    rows.push(value >>> 0);
  }
  return counterOf(rows);
}

function counterOf([frame, clock, check, inverted]) {
  const isValid = check === (frame ^ clock ^ CHECK) >>> 0 && inverted === ~frame >>> 0;
  return isValid ? { frame, clock } : null;
}

/** Milliseconds from the burnt-in clock to `now`; null when the clocks are not of one machine. */
export function latencyOf(clock, now) {
  const latency = (now - clock) % 2 ** 32;
  const positive = latency < 0 ? latency + 2 ** 32 : latency;
  return positive <= LATENCY_LIMIT_MS ? Math.round(positive) : null;
}

/** The latencies of the last pictures. */
export class LatencyWindow {
  #values = [];
  #size;

  constructor(size = 300) {
    this.#size = size;
  }

  add(latencyMs) {
    this.#values.push(latencyMs);
    if (this.#values.length > this.#size) this.#values.shift();
  }

  clear() {
    this.#values = [];
  }

  /** `{min, p50, p95, max, pictures}` in milliseconds; null when there are none. */
  summary() {
    const ordered = [...this.#values].sort((one, other) => one - other);
    if (!ordered.length) return null;
    const at = (share) => ordered[Math.max(0, Math.ceil(share * ordered.length) - 1)];
    return { min: ordered[0], p50: at(0.5), p95: at(0.95), max: ordered.at(-1), pictures: ordered.length };
  }
}

/**
 * Reads the counter of a playing video element: from the luma of the decoded picture where the browser gives it, a
 * tenth of a millisecond, else through a canvas of 128 by 16 pixels, which costs several.
 */
export class CounterReader {
  #context = null;
  #luma = new Uint8Array(0);

  constructor() {
    this.isCheap = typeof VideoFrame === "function";
  }

  /** `{frame, clock}` of the picture now shown, or null. */
  async read(video) {
    if (video.videoWidth < 160) return null;
    if (!this.isCheap) return this.#readCanvas(video);
    try {
      return await this.#readLuma(video);
    } catch {
      this.isCheap = false; // pictures that stay in the graphics card
      return this.#readCanvas(video);
    }
  }

  async #readLuma(video) {
    const picture = new VideoFrame(video, { timestamp: 0 });
    try {
      if (!/^(I4\d\d|NV12)A?$/.test(picture.format ?? "")) throw new Error("no luma plane");
      const area = lumaArea(picture.visibleRect.width);
      const rect = { x: picture.visibleRect.x + area.x, y: picture.visibleRect.y + area.y, width: area.width, height: area.height };
      const size = picture.allocationSize({ rect });
      if (this.#luma.length < size) this.#luma = new Uint8Array(size);
      const [plane] = await picture.copyTo(this.#luma, { rect });
      return decodeLuma(this.#luma.subarray(plane.offset), plane.stride, area);
    } finally {
      picture.close();
    }
  }

  #readCanvas(video) {
    this.#context ??= samplingContext();
    const { x, y, width, height } = counterArea(video.videoWidth);
    const canvas = this.#context.canvas;
    this.#context.drawImage(video, x, y, width, height, 0, 0, canvas.width, canvas.height);
    return decodeCounter(this.#context.getImageData(0, 0, canvas.width, canvas.height).data);
  }
}

function samplingContext() {
  const canvas = document.createElement("canvas");
  canvas.width = COLUMNS * CELL;
  canvas.height = ROWS * CELL;
  return canvas.getContext("2d", { willReadFrequently: true, alpha: false });
}
