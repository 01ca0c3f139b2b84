/**
 * One view on the page: the picture, its boxes, the badges and the words.
 *
 * Two stacked canvases: the picture in its own pixels, the boxes in the screen's pixels, so that
 * labels are crisp at any size and can be redrawn (stale, resized) without the picture. Both are
 * painted in the same task, hence they reach the screen together.
 */
import { drawBoxes } from "../overlay.ts";
import type { PictureHeader, SizeWh } from "../protocol.ts";
import { type Figures, fpsText, latencyText } from "./figures.ts";

export interface Words {
  readonly title: string;
  readonly hint: string;
}

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...children: Node[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** Writing equal text again would still make the browser lay the page out. */
function setText(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text;
  target.hidden = text === "";
}

export class Surface {
  readonly #picture = element("canvas", "detect-picture");
  readonly #overlay = element("canvas", "detect-overlay");
  readonly #latency = element("span", "detect-badge detect-badge-latency");
  readonly #fps = element("span", "detect-badge detect-badge-fps");
  readonly #stale = element("span", "detect-badge detect-badge-stale");
  readonly #title = element("strong", "detect-words-title");
  readonly #hint = element("span", "detect-words-hint");
  readonly #words = element("div", "detect-words", this.#title, this.#hint);
  readonly #stage: HTMLElement;
  #last: { header: PictureHeader; classNames: readonly string[]; isStale: boolean } | null = null;

  constructor(el: HTMLElement, signal: AbortSignal) {
    const badges = element("div", "detect-badges", this.#latency, this.#fps, this.#stale);
    this.#words.setAttribute("role", "status");
    this.#picture.setAttribute("role", "img");
    this.#picture.setAttribute("aria-label", "Picture of the watched camera with detected objects");
    this.#overlay.setAttribute("aria-hidden", "true");
    this.#stage = element("div", "detect-stage", this.#picture, this.#overlay, badges, this.#words);
    el.replaceChildren(this.#stage);
    this.showFigures(null, "");
    const observer = new ResizeObserver(() => this.#drawOverlay());
    observer.observe(this.#stage);
    signal.addEventListener("abort", () => observer.disconnect(), { once: true });
  }

  draw(bitmap: ImageBitmap, header: PictureHeader, classNames: readonly string[]): void {
    const { width, height } = bitmap;
    if (this.#picture.width !== width || this.#picture.height !== height) {
      this.#picture.width = width;
      this.#picture.height = height;
      this.#stage.style.setProperty("--detect-ratio", `${width / height}`);
    }
    // Opaque: the browser needs not blend the picture with what is behind it.
    this.#picture.getContext("2d", { alpha: false })?.drawImage(bitmap, 0, 0);
    this.#last = { header, classNames, isStale: false };
    this.#drawOverlay();
  }

  /** No stream, or another one: an old picture must not stay. */
  clear(): void {
    this.#last = null;
    for (const canvas of [this.#picture, this.#overlay]) {
      canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
    }
  }

  showFigures(figures: Figures | null, stale: string): void {
    setText(this.#latency, figures ? latencyText(figures) : "");
    setText(this.#fps, figures ? fpsText(figures) : "");
    setText(this.#stale, stale);
    const isStale = stale !== "";
    if (!this.#last || this.#last.isStale === isStale) return;
    this.#last = { ...this.#last, isStale };
    this.#drawOverlay();
  }

  showWords(words: Words | null, state: string): void {
    this.#stage.dataset.state = state;
    this.#words.hidden = words === null;
    if (!words) return;
    setText(this.#title, words.title);
    setText(this.#hint, words.hint);
  }

  #drawOverlay(): void {
    const context = this.#overlay.getContext("2d");
    if (!this.#last || !context) return;
    const { header, classNames, isStale } = this.#last;
    const canvasWh = this.#fitOverlay();
    drawBoxes(context, header.boxes, {
      sizeWh: header.sizeWh,
      canvasWh,
      classNames,
      pixelRatio: window.devicePixelRatio || 1,
      stale: isStale,
    });
  }

  #fitOverlay(): SizeWh {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.#stage.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.#stage.clientHeight * ratio));
    if (this.#overlay.width !== width) this.#overlay.width = width;
    if (this.#overlay.height !== height) this.#overlay.height = height;
    return [width, height];
  }
}

/** Picture and boxes on one canvas of the source's size, for recorders. */
export class RecorderCanvas {
  readonly #canvas = document.createElement("canvas");
  readonly #boxes = document.createElement("canvas");

  constructor() {
    // A stream needs a context and a size before the first picture comes.
    this.#resize([640, 480]);
    this.#canvas.getContext("2d")?.fillRect(0, 0, 640, 480);
  }

  stream(): MediaStream {
    return this.#canvas.captureStream();
  }

  draw(bitmap: ImageBitmap, header: PictureHeader, classNames: readonly string[]): void {
    const [width, height] = header.sizeWh;
    this.#resize(header.sizeWh);
    const boxes = this.#boxes.getContext("2d");
    const context = this.#canvas.getContext("2d");
    if (!boxes || !context) return;
    drawBoxes(boxes, header.boxes, { sizeWh: header.sizeWh, canvasWh: header.sizeWh, classNames });
    context.drawImage(bitmap, 0, 0, width, height);
    context.drawImage(this.#boxes, 0, 0);
  }

  #resize([width, height]: SizeWh): void {
    for (const canvas of [this.#canvas, this.#boxes]) {
      if (canvas.width === width && canvas.height === height) continue;
      canvas.width = width;
      canvas.height = height;
    }
  }
}
