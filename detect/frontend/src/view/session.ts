/**
 * What one `DetectionView` model does on one page, however many views of it are shown: one
 * connection, one decoder, one heartbeat; every picture is painted on every view.
 *
 * It starts with the first view or recorder and ends with the model's signal, or when the last view
 * is gone and nothing records.
 */
import { type Clock, nowMs } from "../clock.ts";
import type { PictureHeader, ViewerMessage } from "../protocol.ts";
import { FigureWindow, type Situation, situationWords, staleText } from "./figures.ts";
import {
  type Connection,
  type DownloadMessage,
  listen,
  type PageMessage,
  update,
  type ViewModel,
} from "./model.ts";
import { PicturePump } from "./pump.ts";
import { ViewerSocket } from "./socket.ts";
import { SourceFeed } from "./source.ts";
import { RecorderCanvas, Surface } from "./surface.ts";

/** The kernel takes a page for gone after a minute of silence. */
const HEARTBEAT_MS = 10_000;
/** Badges change often enough to be live and seldom enough to be read. */
const BADGE_MS = 250;
/** A recorder waits no longer than this for a picture of a stalled stream. */
const FIRST_PICTURE_MS = 1000;

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

export class Session {
  readonly #model: ViewModel;
  readonly #now: Clock;
  readonly #lifetime = new AbortController();
  readonly #surfaces = new Set<Surface>();
  readonly #socket: ViewerSocket;
  readonly #source: SourceFeed;
  readonly #figures = new FigureWindow();
  readonly #pump = new PicturePump<ImageBitmap>({
    decode: (jpeg) => createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })),
    ack: (seq) => this.#socket.ack(seq),
    draw: (bitmap, header) => this.#draw(bitmap, header),
    drawn: (seq, times) => this.#socket.drawn(seq, times),
    now: nowMs,
  });
  #recorder: RecorderCanvas | null = null;
  #onRecorded: () => void = () => {};
  #situation: Situation = {
    connection: "connecting",
    state: "waiting",
    name: "",
    message: "",
    hasPicture: false,
    sourceWords: "",
  };
  #classNames: readonly string[] = [];
  #newest: { streamId: string; takenMs: number } | null = null;
  #heartbeatMs = 0;

  constructor(model: ViewModel, serverUrl: URL, now: Clock = nowMs) {
    this.#model = model;
    this.#now = now;
    this.#socket = new ViewerSocket(
      { url: viewerUrl(serverUrl), now },
      {
        onConnection: (connection) => this.#onConnection(connection),
        onMessage: (message) => this.#onMessage(message),
        onPicture: (picture, arrivedMs) => this.#pump.offer(picture, arrivedMs),
      },
    );
    this.#source = new SourceFeed(model, serverUrl, (words) => this.#onSource(words));
    this.#start();
  }

  get isClosed(): boolean {
    return this.#lifetime.signal.aborted;
  }

  /** Show this model in `el` until `signal` aborts. */
  attach(el: HTMLElement, signal: AbortSignal): void {
    el.classList.add("detect-view");
    const surface = new Surface(el, signal);
    this.#surfaces.add(surface);
    signal.addEventListener("abort", () => this.#detach(surface), { once: true });
    this.#showWords();
    this.#beat(true);
  }

  /** A stream of the annotated picture, for ipywebrtc's recorders. */
  async captureStream(): Promise<MediaStream> {
    this.#recorder ??= new RecorderCanvas();
    // An image recorder keeps the stream's first picture: it must not be the empty canvas.
    await Promise.race([this.#nextPicture(), pause(FIRST_PICTURE_MS, this.#lifetime.signal)]);
    return this.#recorder.stream();
  }

  #nextPicture(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRecorded = resolve;
    });
  }

  close(): void {
    if (this.isClosed) return;
    this.#lifetime.abort();
    this.#pump.reset();
    this.#socket.close();
    this.#source.close();
  }

  #detach(surface: Surface): void {
    this.#surfaces.delete(surface);
    if (this.#surfaces.size === 0 && !this.#recorder) this.close();
  }

  #start(): void {
    const { signal } = this.#lifetime;
    const model = this.#model;
    listen(model, "change:stream_id", () => this.#socket.watch(model.get("stream_id")), signal);
    listen(model, "change:source", () => this.#source.follow(), signal);
    listen(
      model,
      "msg:custom",
      (...args) => download(...(args as unknown as DownloadArgs)),
      signal,
    );
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal });
    window.addEventListener("pagehide", () => this.#tell({ type: "bye" }), { signal });
    window.addEventListener("pageshow", () => this.#beat(true), { signal });
    window.addEventListener("online", () => this.#socket.retryNow(), { signal });
    const timer = setInterval(() => this.#tick(), BADGE_MS);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    this.#socket.watch(model.get("stream_id"));
    this.#onVisibility();
    this.#socket.open();
    this.#source.follow();
  }

  #onVisibility(): void {
    const isVisible = document.visibilityState === "visible";
    this.#socket.setVisible(isVisible);
    if (isVisible) this.#socket.retryNow();
    update(this.#model, { is_visible: isVisible });
    this.#beat(true);
  }

  #onConnection(connection: Connection): void {
    this.#pump.reset(); // acknowledgements of the old connection mean nothing to the new one
    this.#situation = { ...this.#situation, connection };
    update(this.#model, { connection });
    this.#showWords();
  }

  #onMessage(message: Exclude<ViewerMessage, { type: "ping" }>): void {
    if (message.type === "hello") {
      this.#classNames = message.classNames;
      return;
    }
    const { streamId, state, name } = message;
    if (streamId !== this.#newest?.streamId) this.#forgetPicture();
    const hasPicture = this.#newest !== null;
    this.#situation = { ...this.#situation, state, name, message: message.message, hasPicture };
    update(this.#model, { state, shown_stream: streamId, message: message.message });
    this.#showWords();
    this.#beat(false);
  }

  #onSource(words: string): void {
    this.#situation = { ...this.#situation, sourceWords: words };
    update(this.#model, { message: words });
    this.#showWords();
  }

  #forgetPicture(): void {
    this.#newest = null;
    this.#figures.clear();
    for (const surface of this.#surfaces) surface.clear();
  }

  #draw(bitmap: ImageBitmap, header: PictureHeader): void {
    for (const surface of this.#surfaces) surface.draw(bitmap, header, this.#classNames);
    this.#recorder?.draw(bitmap, header, this.#classNames);
    if (this.#recorder) this.#onRecorded();
    bitmap.close();
    const drawnMs = this.#now();
    this.#figures.add(header, drawnMs);
    this.#newest = { streamId: header.streamId, takenMs: header.capturedMs ?? drawnMs };
    if (this.#situation.hasPicture) return;
    this.#situation = { ...this.#situation, hasPicture: true };
    this.#showWords();
  }

  #showWords(): void {
    const { connection, state } = this.#situation;
    const words = situationWords(this.#situation);
    for (const surface of this.#surfaces) {
      surface.showWords(words, connection === "open" ? state : connection);
    }
  }

  #tick(): void {
    const now = this.#now();
    const figures = this.#figures.read(now);
    const stale = this.#newest ? staleText(now - this.#newest.takenMs) : "";
    for (const surface of this.#surfaces) surface.showFigures(figures, stale);
    this.#beat(false);
  }

  #beat(isForced: boolean): void {
    const now = this.#now();
    if (!isForced && now - this.#heartbeatMs < HEARTBEAT_MS) return;
    this.#heartbeatMs = now;
    this.#tell({ type: "heartbeat", visible: document.visibilityState === "visible" });
  }

  #tell(message: PageMessage): void {
    this.#model.send(message);
  }
}

/** `…/detect/` → `ws(s)://…/detect/api/view`. */
export function viewerUrl(serverUrl: URL): string {
  const url = new URL("api/view", serverUrl);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

type DownloadArgs = [message: DownloadMessage, buffers: readonly DataView<ArrayBuffer>[]];

/** The kernel hands a file over: give it to the user. */
function download(message: DownloadMessage, buffers: readonly DataView<ArrayBuffer>[]): void {
  if (message.type !== "download") return;
  const url = URL.createObjectURL(new Blob([...buffers], { type: message.mime }));
  const link = Object.assign(document.createElement("a"), { href: url, download: message.name });
  link.click();
  // The browser has taken the blob over once the click is through.
  setTimeout(() => URL.revokeObjectURL(url), 0);
}
