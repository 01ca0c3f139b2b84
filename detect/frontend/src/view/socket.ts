/**
 * The page's connection to the media server (docs/protocol.md §2): kept up for as long as the view
 * lives, with pauses that grow while the server is gone. Pings are answered before anything else,
 * since the time that takes counts against the clock's error bound.
 */
import type { Clock } from "../clock.ts";
import {
  ackText,
  drawnText,
  type Picture,
  parsePicture,
  parseViewerText,
  pongText,
  type ViewerMessage,
  visibleText,
  watchText,
} from "../protocol.ts";
import type { Connection } from "./model.ts";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4000;

/** The part of a `WebSocket` that is used; tests pass a fake. */
export type SocketLike = Pick<WebSocket, "binaryType" | "readyState" | "send" | "close"> & {
  onmessage: ((event: MessageEvent) => void) | null;
  onclose: ((event: CloseEvent) => void) | null;
};

export interface SocketHooks {
  readonly onConnection: (connection: Connection) => void;
  readonly onMessage: (message: Exclude<ViewerMessage, { type: "ping" }>) => void;
  readonly onPicture: (picture: Picture, arrivedMs: number) => void;
}

export interface SocketOptions {
  readonly url: string;
  readonly now: Clock;
  readonly connect?: (url: string) => SocketLike;
  /** Like `setTimeout`; returns what cancels it. */
  readonly after?: (ms: number, run: () => void) => () => void;
}

/** Pause before try number `nFailures`, in milliseconds: doubles up to a few seconds. */
export function pauseMs(nFailures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.max(0, nFailures - 1));
}

const OPEN = 1;

function afterTimeout(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}

export class ViewerSocket {
  /** Messages that break the protocol: dropped, and counted here. */
  nInvalid = 0;
  readonly #options: Required<SocketOptions>;
  readonly #hooks: SocketHooks;
  #socket: SocketLike | null = null;
  #cancelRetry: (() => void) | null = null;
  #nFailures = 0;
  #isGreeted = false;
  #isClosed = false;
  #streamId: string | null = null;
  #isVisible = true;

  constructor(options: SocketOptions, hooks: SocketHooks) {
    this.#options = { connect: (url) => new WebSocket(url), after: afterTimeout, ...options };
    this.#hooks = hooks;
  }

  open(): void {
    if (this.#isClosed || this.#socket) return;
    this.#cancelRetry?.();
    this.#cancelRetry = null;
    const socket = this.#options.connect(this.#options.url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => this.#onMessage(event.data);
    socket.onclose = () => this.#onClose();
  }

  /** Try now instead of at the end of the pause: the page came back, or the network did. */
  retryNow(): void {
    if (this.#cancelRetry) this.open();
  }

  /** Close for good. */
  close(): void {
    this.#isClosed = true;
    this.#cancelRetry?.();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  watch(streamId: string | null): void {
    this.#streamId = streamId;
    this.#send(watchText(streamId));
  }

  setVisible(isVisible: boolean): void {
    this.#isVisible = isVisible;
    this.#send(visibleText(isVisible));
  }

  ack(seq: number): void {
    this.#send(ackText(seq));
  }

  drawn(seq: number, times: { arrivedMs: number; drawnMs: number }): void {
    this.#send(drawnText(seq, times));
  }

  #send(text: string): void {
    if (this.#socket?.readyState === OPEN && this.#isGreeted) this.#socket.send(text);
  }

  /**
   * The server's first word. Not `onopen`: the Jupyter proxy opens the page's side before it knows
   * whether there is a server, and loses what is sent until then.
   */
  #onHello(): void {
    this.#isGreeted = true;
    this.#nFailures = 0;
    this.#send(watchText(this.#streamId));
    if (!this.#isVisible) this.#send(visibleText(false));
    this.#hooks.onConnection("open");
  }

  #onClose(): void {
    this.#socket = null;
    this.#isGreeted = false;
    this.#nFailures += 1;
    this.#cancelRetry = this.#options.after(pauseMs(this.#nFailures), () => this.open());
    this.#hooks.onConnection("closed");
  }

  #onMessage(data: unknown): void {
    const arrivedMs = this.#options.now();
    if (typeof data === "string") this.#onText(data, arrivedMs);
    else this.#onBinary(data, arrivedMs);
  }

  #onBinary(data: unknown, arrivedMs: number): void {
    const picture = data instanceof ArrayBuffer ? parsePicture(data) : null;
    if (picture?.ok) this.#hooks.onPicture(picture.value, arrivedMs);
    else this.nInvalid += 1;
  }

  #onText(text: string, receivedMs: number): void {
    const message = parseViewerText(text);
    if (!message.ok) {
      this.nInvalid += 1;
    } else if (message.value.type === "ping") {
      const { id } = message.value;
      this.#send(pongText({ id, receivedMs, repliedMs: this.#options.now() }));
    } else {
      if (message.value.type === "hello" && !this.#isGreeted) this.#onHello();
      this.#hooks.onMessage(message.value);
    }
  }
}
