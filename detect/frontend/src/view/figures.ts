/** The figures and words on the picture: pure, so that every case is a line of a table in a test. */
import type { PictureHeader, StreamState } from "../protocol.ts";
import type { Connection } from "./model.ts";

/** A picture older than this is marked: DESIGN's promise that old boxes never look fresh. */
export const STALE_AFTER_MS = 1000;
const WINDOW_MS = 1000;

interface Shown {
  readonly drawnMs: number;
  /** Age when drawn, or processing time while the clock is not synchronised. */
  readonly figureMs: number;
}

/** What the badge shows. */
export interface Figures {
  readonly fps: number;
  /** Median over the last second. */
  readonly figureMs: number;
  /** Bound on the error of an age; null: the figure is processing time only. */
  readonly errorMs: number | null;
}

/** Pictures of the last second. */
export class FigureWindow {
  #shown: Shown[] = [];
  #errorMs: number | null = null;

  add(header: PictureHeader, drawnMs: number): void {
    const { capturedMs, errorMs, processingMs } = header;
    const isSynchronised = capturedMs !== null && errorMs !== null;
    if (isSynchronised !== (this.#errorMs !== null)) this.#shown = []; // another quantity
    this.#errorMs = isSynchronised ? errorMs : null;
    this.#shown.push({ drawnMs, figureMs: isSynchronised ? drawnMs - capturedMs : processingMs });
    this.#forget(drawnMs);
  }

  clear(): void {
    this.#shown = [];
    this.#errorMs = null;
  }

  /** Null when nothing was drawn within the last second. */
  read(nowMs: number): Figures | null {
    this.#forget(nowMs);
    if (this.#shown.length === 0) return null;
    const sorted = this.#shown.map((shown) => shown.figureMs).sort((a, b) => a - b);
    const figureMs = sorted[Math.floor(sorted.length / 2)] ?? 0;
    return { fps: this.#fps(), figureMs, errorMs: this.#errorMs };
  }

  /** Intervals, not pictures, per second: right from the second picture on. */
  #fps(): number {
    const first = this.#shown[0];
    const last = this.#shown[this.#shown.length - 1];
    if (!first || !last || last.drawnMs <= first.drawnMs) return this.#shown.length;
    return ((this.#shown.length - 1) * 1000) / (last.drawnMs - first.drawnMs);
  }

  #forget(nowMs: number): void {
    this.#shown = this.#shown.filter((shown) => shown.drawnMs > nowMs - WINDOW_MS);
  }
}

/** `42 ms ± 3`, or `processing 31 ms` while no capture time is known. */
export function latencyText({ figureMs, errorMs }: Figures): string {
  const ms = Math.round(figureMs);
  if (errorMs === null) return `processing ${ms} ms`;
  return `${ms} ms ± ${Math.max(1, Math.ceil(errorMs))}`;
}

export function fpsText({ fps }: Figures): string {
  return `${Math.round(fps)} fps`;
}

/** `stale 1.2 s`, or empty while the newest picture is young enough. */
export function staleText(ageMs: number): string {
  return ageMs > STALE_AFTER_MS ? `stale ${(ageMs / 1000).toFixed(1)} s` : "";
}

export interface Situation {
  readonly connection: Connection;
  readonly state: StreamState;
  /** The watched device's name; empty when there is none. */
  readonly name: string;
  /** The server's own words, preferred when there are any. */
  readonly message: string;
  readonly hasPicture: boolean;
  /** What the page's own camera has to say; empty when it is not used or works. */
  readonly sourceWords: string;
}

/** A headline and what to do; null when the picture speaks for itself. */
export function situationWords(now: Situation): { title: string; hint: string } | null {
  if (now.connection === "closed") {
    return {
      title: "The media server is gone — reconnecting",
      hint: "This page goes on by itself when it is back. If it was stopped: detect up",
    };
  }
  if (now.connection === "connecting") {
    return { title: "Connecting to the media server", hint: "" };
  }
  if (now.sourceWords && now.state !== "live") {
    return { title: "This computer's camera", hint: now.sourceWords };
  }
  return streamWords(now);
}

function streamWords({ state, name, message, hasPicture }: Situation) {
  const device = name || "The phone";
  switch (state) {
    case "waiting":
      return { title: "Waiting for a phone", hint: message || "Scan the QR code to begin." };
    case "connecting":
      return { title: `${device} is connecting`, hint: message };
    case "stalled":
      return {
        title: `No pictures from ${name || "the phone"}`,
        hint: message || "Its network may be weak, or its page is in the background.",
      };
    case "ended":
      return { title: `${device} has left`, hint: message || "Scan the QR code to go on." };
    case "live":
      return hasPicture ? null : { title: `${device} is live`, hint: "The first picture is due." };
  }
}
