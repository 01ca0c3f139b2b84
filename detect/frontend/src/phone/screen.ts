/**
 * Put the state on the page. Knows the DOM and the words, decides nothing.
 */
import type { Results } from "../protocol.ts";
import type { CameraControls } from "./camera.ts";
import { type PhoneState, type Signal, usesCamera } from "./state.ts";
import {
  ASKING_WORDS,
  failureWords,
  hintText,
  latencyFigure,
  type Platform,
  READY_WORDS,
  RETURNING_WORDS,
  SIGNAL_WORDS,
  STOPPED_WORDS,
  statusText,
  type Words,
} from "./words.ts";

const NOTICE_MS = 6_000;

function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`phone.html has no ${type.name} #${id}`);
  return element;
}

export interface Figures {
  readonly fps: number | null;
  readonly results: Results | null;
}

export class Screen {
  readonly video = byId("video", HTMLVideoElement);
  readonly canvas = byId("boxes", HTMLCanvasElement);
  readonly start = byId("start", HTMLButtonElement);
  readonly stop = byId("stop", HTMLButtonElement);
  readonly flip = byId("flip", HTMLButtonElement);
  readonly torch = byId("torch", HTMLButtonElement);
  readonly zoom = byId("zoom", HTMLInputElement);
  readonly #platform: Platform;
  readonly #root = document.body;
  readonly #status = byId("status", HTMLElement);
  readonly #hint = byId("hint", HTMLElement);
  readonly #title = byId("title", HTMLElement);
  readonly #text = byId("text", HTMLElement);
  readonly #steps = byId("steps", HTMLUListElement);
  readonly #notice = byId("notice", HTMLElement);
  readonly #fps = byId("fps", HTMLElement);
  readonly #latency = byId("latency", HTMLElement);
  readonly #latencyLabel = byId("latency-label", HTMLElement);
  readonly #signal = byId("signal", HTMLElement);
  readonly #zoomRow = byId("zoom-row", HTMLElement);
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(platform: Platform, signal: AbortSignal) {
    this.#platform = platform;
    signal.addEventListener("abort", () => clearTimeout(this.#noticeTimer));
  }

  render(state: PhoneState): void {
    this.#root.dataset.kind = state.kind;
    this.#root.dataset.tone = toneOf(state);
    setText(this.#status, statusText(state));
    setText(this.#hint, hintText(state));
    if (usesCamera(state)) {
      this.#showSignal(state.kind === "live" ? state.signal : null);
    } else {
      this.#showCard(state);
    }
  }

  showFigures(figures: Figures): void {
    setText(this.#fps, figures.fps === null ? "–" : figures.fps.toFixed(0));
    const latency = latencyFigure(figures.results);
    setText(this.#latencyLabel, latency.label);
    setText(this.#latency, latency.value);
  }

  showControls(controls: CameraControls, canFlip: boolean): void {
    this.flip.hidden = !canFlip;
    this.torch.hidden = !controls.hasTorch;
    this.setTorch(false);
    this.#zoomRow.hidden = controls.zoom === null;
    if (controls.zoom) {
      const { min, max, step, value } = controls.zoom;
      Object.assign(this.zoom, {
        min: `${min}`,
        max: `${max}`,
        step: `${step}`,
        value: `${value}`,
      });
    }
  }

  setTorch(isOn: boolean): void {
    this.torch.setAttribute("aria-pressed", String(isOn));
  }

  /** Some words that go away by themselves. */
  showNotice(text: string): void {
    clearTimeout(this.#noticeTimer);
    setText(this.#notice, text);
    this.#noticeTimer = setTimeout(() => setText(this.#notice, ""), NOTICE_MS);
  }

  #showSignal(signal: Signal | null): void {
    this.#root.dataset.signal = signal ?? "";
    setText(this.#signal, signal ? SIGNAL_WORDS[signal] : "–");
  }

  #showCard(state: PhoneState): void {
    const words = this.#cardWords(state);
    setText(this.#title, words.title);
    setText(this.#text, words.text);
    this.#steps.replaceChildren(...words.steps.map(listItem));
    const label = buttonLabel(state, words);
    this.start.hidden = label === "";
    setText(this.start, label);
  }

  #cardWords(state: PhoneState): Words {
    switch (state.kind) {
      case "failed":
        return failureWords(state.failure, this.#platform);
      case "stopped":
        return STOPPED_WORDS;
      case "asking":
        return ASKING_WORDS;
      default:
        return state.kind === "ready" && state.isReturning ? RETURNING_WORDS : READY_WORDS;
    }
  }
}

function buttonLabel(state: PhoneState, words: Words): string {
  if (state.kind === "ready") return state.isReturning ? "Continue" : "Start camera";
  return words.action === "retry" ? "Try again" : "";
}

/** The colour of the state: calm, working, attention. */
function toneOf(state: PhoneState): string {
  if (state.kind === "failed") return "bad";
  if (state.kind === "connecting") return state.trouble ? "warn" : "busy";
  if (state.kind === "asking") return "busy";
  if (state.kind !== "live") return "idle";
  return state.signal === "weak" || state.track !== "live" ? "warn" : "live";
}

function listItem(text: string): HTMLLIElement {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
}

/** Writing the same text again would make screen readers say it again. */
function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
