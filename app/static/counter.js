// The counter that the test pattern burns into each picture: where it lies and how it reads. The drawing side is
// the test source of the master; both divide the width by 40.

const COLUMNS = 32;
const ROWS = 4;
const MARGIN = 4; // cells left of the counter
const CELL = 4; // pixels a cell gets in the sampling canvas
const CHECK = 0x5a5a5a5a;
const THRESHOLD = 127; // grey of a cell: 255 is one, 0 is zero
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
  const [frame, clock, check, inverted] = rows;
  const isValid = check === (frame ^ clock ^ CHECK) >>> 0 && inverted === ~frame >>> 0;
  return isValid ? { frame, clock } : null;
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

/** Milliseconds from the burnt-in clock to `now`; null when the clocks are not of one machine. */
export function latencyOf(clock, now) {
  const latency = (now - clock) >>> 0;
  return latency <= LATENCY_LIMIT_MS ? latency : null;
}

/** Reads the counter of a playing video element through a canvas of 128 by 16 pixels. */
export class CounterReader {
  #context;

  constructor() {
    const canvas = document.createElement("canvas");
    canvas.width = COLUMNS * CELL;
    canvas.height = ROWS * CELL;
    this.#context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  }

  /** `{frame, clock}` of the picture now shown, or null. */
  read(video) {
    if (video.videoWidth < 160) return null;
    const { x, y, width, height } = counterArea(video.videoWidth);
    const canvas = this.#context.canvas;
    this.#context.drawImage(video, x, y, width, height, 0, 0, canvas.width, canvas.height);
    return decodeCounter(this.#context.getImageData(0, 0, canvas.width, canvas.height).data);
  }
}
