/**
 * The preview with its boxes: a video and a canvas above it, laid out the same way.
 *
 * Both are `object-fit: contain` in the same box and have the same proportions, so the browser maps
 * them alike and no code has to. The canvas is drawn when results come and at no other time.
 */
import { drawBoxes } from "../overlay.ts";
import type { Results, SizeWh } from "../protocol.ts";

/** Boxes older than this are drawn as old… */
export const STALE_MS = 700;
/** …and taken away after this, because they say nothing about the picture any more. */
export const GONE_MS = 3_000;
/** Sharper than this costs fill rate and shows no more. */
const MAX_PIXEL_RATIO = 2;

/**
 * Size of the canvas: the proportions of the picture, as many pixels as are seen of it.
 *
 * @param pictureWh what the boxes refer to
 * @param elementWh the element's box in CSS pixels
 */
export function canvasSize(pictureWh: SizeWh, elementWh: SizeWh, pixelRatio: number): SizeWh {
  const fit = Math.min(elementWh[0] / pictureWh[0], elementWh[1] / pictureWh[1]);
  const scale = fit * Math.min(pixelRatio, MAX_PIXEL_RATIO);
  return [
    Math.max(1, Math.round(pictureWh[0] * scale)),
    Math.max(1, Math.round(pictureWh[1] * scale)),
  ];
}

/** A result of the moment before the phone was turned fits no more. */
export function hasSameOrientation(a: SizeWh, b: SizeWh): boolean {
  return Math.sign(a[0] - a[1]) === Math.sign(b[0] - b[1]);
}

export class Stage {
  readonly #video: HTMLVideoElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D | null;
  #classNames: readonly string[] = [];
  #last: Results | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(video: HTMLVideoElement, canvas: HTMLCanvasElement, signal: AbortSignal) {
    this.#video = video;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    // The phone was turned: the boxes on the canvas belong to the old shape.
    video.addEventListener("resize", () => this.clear(), { signal });
    globalThis.addEventListener("resize", () => this.#redraw(), { signal });
    signal.addEventListener("abort", () => this.show(null));
  }

  setClassNames(classNames: readonly string[]): void {
    this.#classNames = classNames;
  }

  /** Show a camera; null empties the stage. */
  show(stream: MediaStream | null): void {
    this.clear();
    this.#video.srcObject = stream;
    // Safari does not always start by `autoplay` alone. A refusal leaves the first frame standing.
    if (stream) this.#video.play().catch(() => {});
  }

  showResults(results: Results): void {
    clearTimeout(this.#timer);
    this.#last = results;
    this.#draw(results, (results.ageMs ?? 0) > STALE_MS);
    this.#timer = setTimeout(() => this.#age(results), STALE_MS);
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#last = null;
    this.#context?.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #age(results: Results): void {
    this.#draw(results, true);
    this.#timer = setTimeout(() => this.clear(), GONE_MS - STALE_MS);
  }

  #redraw(): void {
    if (this.#last) this.#draw(this.#last, false);
  }

  #draw(results: Results, isStale: boolean): void {
    const { videoWidth, videoHeight, clientWidth, clientHeight } = this.#video;
    if (!this.#context || !videoWidth || !clientWidth) return;
    if (!hasSameOrientation(results.sizeWh, [videoWidth, videoHeight])) {
      this.clear();
      return;
    }
    const ratio = Math.min(globalThis.devicePixelRatio || 1, MAX_PIXEL_RATIO);
    const canvasWh = canvasSize(results.sizeWh, [clientWidth, clientHeight], ratio);
    this.#resize(canvasWh);
    const { sizeWh, boxes } = results;
    const stale = isStale && boxes.length > 0;
    const classNames = this.#classNames;
    drawBoxes(this.#context, boxes, { sizeWh, canvasWh, classNames, pixelRatio: ratio, stale });
  }

  /** Setting a canvas' size clears and reallocates it, even to the same value. */
  #resize(canvasWh: SizeWh): void {
    if (this.#canvas.width !== canvasWh[0]) this.#canvas.width = canvasWh[0];
    if (this.#canvas.height !== canvasWh[1]) this.#canvas.height = canvasWh[1];
  }
}
