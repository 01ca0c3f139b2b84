/**
 * CameraLink: keep one camera connected to the media server.
 *
 * Used by the phone page, and by the dashboard view for cameras of the laptop. It tries, tells in
 * what state it is, tries again with the resume token when the network comes back, and gives up
 * only where trying again cannot help.
 */
import { Attempt, type AttemptHost, type Outcome } from "./attempt.ts";
import { type Clock, nowMs } from "./clock.ts";
import { type LinkStats, preferDetail, readStats } from "./peer.ts";
import {
  authPayload,
  type Credential,
  type PhoneCondition,
  type Refusal,
  type Results,
  stateText,
  type Welcome,
} from "./protocol.ts";
import type { OpenSocket } from "./signalling.ts";

export type { LinkStats } from "./peer.ts";
export { socketIoOpener } from "./signalling.ts";

/** What keeps a link from being live while it still tries. */
export type Trouble = "server_silent" | "no_route" | "lost" | "busy";

/** Why a link has given up. */
export type LinkFailure =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "removed"; readonly refusal: Refusal }
  | { readonly kind: "unreachable" }
  | { readonly kind: "no_route" }
  | { readonly kind: "unsupported"; readonly detail: string };

export type LinkState =
  | { readonly kind: "idle" }
  | {
      readonly kind: "connecting";
      /** Which leg is being tried. */
      readonly step: "server" | "media";
      /** What went wrong last time; null at the first try. */
      readonly trouble: Trouble | null;
      /** Tries that failed since the link was last live. */
      readonly nFailed: number;
    }
  | { readonly kind: "live"; readonly sinceMs: number }
  | { readonly kind: "failed"; readonly failure: LinkFailure }
  | { readonly kind: "closed" };

export interface CameraLinkOptions {
  readonly track: MediaStreamTrack;
  readonly credential: Credential;
  /** A word for the device, shown on the dashboard. */
  readonly deviceName: string;
  readonly openSocket: OpenSocket;
  readonly onState: (state: LinkState) => void;
  readonly onWelcome?: (welcome: Welcome) => void;
  readonly onResults?: (results: Results) => void;
  /** Words of the server for the user. */
  readonly onNotice?: (notice: Refusal) => void;
  readonly createPeer?: (configuration: RTCConfiguration) => RTCPeerConnection;
  readonly clock?: Clock;
  /** Where `pagehide` and `online` are heard; null for nowhere. */
  readonly page?: EventTarget | null;
}

const FIRST_WELCOME_LIMIT_MS = 10_000;
/** Short, because a connection begun while the network is away wakes up seconds late. */
const RETRY_WELCOME_LIMIT_MS = 4_000;
const MAX_BACKOFF_MS = 2_000;
const BUSY_BACKOFF_MS = 5_000;
/** A link that lived this long has worked. */
const STEADY_MS = 3_000;
/** Tries before the first success; after it the user has seen the link work, so keep trying longer. */
const MAX_FIRST_TRIES = { unreachable: 3, no_route: 2 } as const;
/** Ten minutes or more: a media server that died is started again within seconds, a laptop wakes up later. */
const MAX_RETRIES = 300;

export class CameraLink {
  readonly #options: CameraLinkOptions;
  readonly #life = new AbortController();
  #track: MediaStreamTrack;
  #credential: Credential;
  #condition: PhoneCondition = { facing: null, track: "live", visible: true };
  #state: LinkState = { kind: "idle" };
  #attempt: Attempt | null = null;
  #nFailed = 0;
  #wasLive = false;
  #wake: () => void = () => {};
  #nBadMessages = 0;

  constructor(options: CameraLinkOptions) {
    this.#options = options;
    this.#track = options.track;
    preferDetail(options.track);
    this.#credential = options.credential;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Messages of the server that broke the protocol and were dropped. */
  get nBadMessages(): number {
    return this.#nBadMessages;
  }

  /** Resolves when the link is closed or has given up; {@link CameraLinkOptions.onState} tells the rest. */
  async start(): Promise<void> {
    if (this.#state.kind !== "idle") throw new Error("a CameraLink is started once");
    const page = this.#options.page === undefined ? globalThis.window : this.#options.page;
    // Without this the server learns of a closed tab only after half a minute.
    page?.addEventListener("pagehide", () => this.close(), { signal: this.#life.signal });
    page?.addEventListener("online", () => this.hurry(), { signal: this.#life.signal });
    let trouble: Trouble | null = null;
    while (!this.#life.signal.aborted) {
      this.#setState({ kind: "connecting", step: "server", trouble, nFailed: this.#nFailed });
      this.#attempt = new Attempt(this.#attemptHost(trouble));
      const outcome = await this.#attempt.run();
      this.#attempt = null;
      trouble = await this.#next(outcome);
    }
  }

  /** Send another camera over the same connection (flip). The old track is the caller's to stop. */
  async replaceTrack(track: MediaStreamTrack): Promise<void> {
    this.#track = track;
    preferDetail(track);
    await this.#attempt?.replaceTrack(track);
  }

  /** Tell the server about the camera and the page, when something changed. */
  setCondition(condition: PhoneCondition): void {
    const text = stateText(condition);
    if (text === stateText(this.#condition)) return;
    this.#condition = condition;
    this.#attempt?.sendControl(text);
  }

  /** Figures of the way up; null while there is no connection. */
  async stats(): Promise<LinkStats | null> {
    const pc = this.#attempt?.peer;
    return pc && this.#state.kind === "live" ? readStats(pc) : null;
  }

  /** Try at once: the network is back, or the user is looking again. */
  hurry(): void {
    if (this.#attempt?.isBroken) this.#attempt.end({ kind: "lost" });
    this.#wake();
  }

  /** The user is done: the server forgets this phone. */
  leave(): void {
    this.#attempt?.sayGoodbye();
    this.close();
  }

  /** Release everything; safe to call again. The resume token stays good. */
  close(): void {
    if (this.#life.signal.aborted) return;
    this.#life.abort();
    this.#attempt?.end({ kind: "closed" });
    this.#wake();
    if (this.#state.kind !== "failed") this.#setState({ kind: "closed" });
  }

  #setState(state: LinkState): void {
    this.#state = state;
    this.#options.onState(state);
  }

  #attemptHost(trouble: Trouble | null): AttemptHost {
    const options = this.#options;
    return {
      openSocket: options.openSocket,
      createPeer: options.createPeer ?? ((configuration) => new RTCPeerConnection(configuration)),
      clock: options.clock ?? nowMs,
      auth: authPayload(this.#credential, options.deviceName),
      welcomeLimitMs: trouble ? RETRY_WELCOME_LIMIT_MS : FIRST_WELCOME_LIMIT_MS,
      track: () => this.#track,
      stateText: () => stateText(this.#condition),
      onWelcome: (welcome) => {
        // A pairing token is spent now; a local source keeps coming in by its access token.
        if (this.#credential.kind !== "local") {
          this.#credential = { kind: "resume", token: welcome.resume };
        }
        options.onWelcome?.(welcome);
        this.#setState({ kind: "connecting", step: "media", trouble, nFailed: this.#nFailed });
      },
      onConnected: () => {
        this.#nFailed = 0;
        this.#wasLive = true;
        if (this.#state.kind !== "live") {
          this.#setState({ kind: "live", sinceMs: (options.clock ?? nowMs)() });
        }
      },
      onResults: (results) => options.onResults?.(results),
      onNotice: (notice) => options.onNotice?.(notice),
      onBadMessage: (error) => {
        this.#nBadMessages += 1;
        console.debug("dropped a message:", error);
      },
    };
  }

  /** Decide what follows an attempt: give up (and close), or wait and name the trouble. */
  async #next(outcome: Outcome): Promise<Trouble | null> {
    if (this.#life.signal.aborted || outcome.kind === "closed") return null;
    if (outcome.kind === "lost") return this.#afterLoss();
    this.#nFailed += 1;
    const failure = this.#verdict(outcome);
    if (failure) {
      this.#setState({ kind: "failed", failure });
      this.close();
      return null;
    }
    const trouble = troubleOf(outcome);
    this.#setState({ kind: "connecting", step: "server", trouble, nFailed: this.#nFailed });
    await this.#pause(trouble === "busy" ? BUSY_BACKOFF_MS : backoffMs(this.#nFailed));
    return trouble;
  }

  /** Try again at once, unless the link breaks as soon as it is made. */
  async #afterLoss(): Promise<Trouble> {
    const now = (this.#options.clock ?? nowMs)();
    const livedMs = this.#state.kind === "live" ? now - this.#state.sinceMs : 0;
    if (livedMs < STEADY_MS) await this.#pause(MAX_BACKOFF_MS);
    return "lost";
  }

  /** @returns the failure when trying again cannot help, or has been tried enough */
  #verdict(outcome: Exclude<Outcome, { kind: "lost" | "closed" }>): LinkFailure | null {
    switch (outcome.kind) {
      case "removed":
      case "unsupported":
        return outcome;
      case "refused":
        return this.#wasLive && outcome.refusal.code === "rate_limited" ? null : outcome;
      case "unreachable":
      case "no_route": {
        const limit = this.#wasLive ? MAX_RETRIES : MAX_FIRST_TRIES[outcome.kind];
        return this.#nFailed >= limit ? outcome : null;
      }
    }
  }

  /** Wait, unless {@link hurry} or {@link close} say otherwise. */
  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, delayMs);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this.#wake = done;
    });
  }
}

function troubleOf(outcome: Outcome): Trouble {
  if (outcome.kind === "refused") return "busy";
  return outcome.kind === "no_route" ? "no_route" : "server_silent";
}

function backoffMs(nFailed: number): number {
  return Math.min(MAX_BACKOFF_MS, 250 * 2 ** (nFailed - 1));
}
