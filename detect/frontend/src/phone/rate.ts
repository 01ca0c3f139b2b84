/** Events per second over the last {@link WINDOW_MS}; memory is bounded by the rate itself. */
const WINDOW_MS = 2_000;

export class Rate {
  readonly #timesMs: number[] = [];

  add(atMs: number): void {
    this.#timesMs.push(atMs);
    this.#forget(atMs);
  }

  /** @returns null until two events have been seen */
  perSecond(nowMs: number): number | null {
    this.#forget(nowMs);
    const first = this.#timesMs[0];
    if (first === undefined || this.#timesMs.length < 2) return null;
    const spanMs = Math.max(nowMs - first, 1);
    return ((this.#timesMs.length - 1) * 1000) / spanMs;
  }

  clear(): void {
    this.#timesMs.length = 0;
  }

  #forget(nowMs: number): void {
    while ((this.#timesMs[0] ?? nowMs) < nowMs - WINDOW_MS) this.#timesMs.shift();
  }
}
