/**
 * Keep the screen on while the camera is sending: a locked phone stops its camera.
 *
 * The browser drops the lock whenever the page is hidden, so it is asked for again on return. Where
 * there is no such thing, or the battery is too low for it, nothing happens.
 */
export class ScreenLock {
  readonly #document: Document;
  readonly #request: (() => Promise<WakeLockSentinel>) | null;
  #wanted = false;
  #sentinel: WakeLockSentinel | null = null;

  constructor(document: Document, wakeLock: WakeLock | undefined, signal: AbortSignal) {
    this.#document = document;
    this.#request = wakeLock ? () => wakeLock.request("screen") : null;
    document.addEventListener("visibilitychange", () => this.#update(), { signal });
    signal.addEventListener("abort", () => this.want(false));
  }

  want(isWanted: boolean): void {
    if (isWanted === this.#wanted) return;
    this.#wanted = isWanted;
    this.#update();
  }

  #update(): void {
    if (!this.#wanted) {
      this.#sentinel?.release().catch(() => {});
      this.#sentinel = null;
    } else if (this.#document.visibilityState === "visible") {
      void this.#acquire();
    }
  }

  async #acquire(): Promise<void> {
    if (!this.#request || (this.#sentinel && !this.#sentinel.released)) return;
    try {
      this.#sentinel = await this.#request();
    } catch {
      return; // low battery or no permission: the user sees the screen dim, nothing breaks
    }
    if (!this.#wanted) this.#update(); // stopped while it was being asked for
  }
}
