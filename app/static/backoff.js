// Full-jitter back-off: the bound doubles, the wait is anything below it. No timer of its own.

/** Waits in milliseconds, each drawn from [0, bound); the bound goes from `first` to `most`. */
export class Backoff {
  #first;
  #most;
  #random;
  #tries = 0;

  constructor({ first = 400, most = 15_000, random = Math.random } = {}) {
    this.#first = first;
    this.#most = most;
    this.#random = random;
  }

  next() {
    const bound = Math.min(this.#most, this.#first * 2 ** this.#tries);
    this.#tries += 1;
    return this.#random() * bound;
  }

  reset() {
    this.#tries = 0;
  }
}
