/**
 * A camera or video of this page as a source: any ipywebrtc `MediaStream` model's picture goes to
 * the media server like a phone's, and the view then watches that stream.
 */
import type { SignalAddress } from "../signalling.ts";
import { CameraLink, type LinkFailure, type LinkState, socketIoOpener } from "../transport.ts";
import { type StreamModel, update, type ViewModel } from "./model.ts";

/** Name the dashboard lists it under. */
const SOURCE_NAME = "This computer";

/** A reference to another model, as ipywidgets or anywidget write it → its id. */
export function modelId(reference: string): string {
  return reference.replace(/^(IPY_MODEL_|anywidget:)/, "");
}

/** Where signalling is, seen from a page behind the Jupyter proxy. */
export function signalAddress(serverUrl: URL): SignalAddress {
  const url = new URL("socket.io/", serverUrl);
  return { origin: url.origin, path: url.pathname };
}

/** A failed camera or link in words; empty when there is nothing to say. */
export function troubleWords(error: unknown): string {
  const name = error instanceof Error ? error.name : "";
  switch (name) {
    case "NotAllowedError":
      return "The browser was not allowed to use the camera: allow it in the address bar, then try again.";
    case "NotFoundError":
      return "This computer has no camera that the browser can see.";
    case "NotReadableError":
      return "Another program uses the camera: close it, then try again.";
    default:
      return `The source gives no picture (${error instanceof Error ? error.message : String(error)}).`;
  }
}

function failureWords(failure: LinkFailure): string {
  switch (failure.kind) {
    case "refused":
    case "removed":
      return failure.refusal.message;
    case "unreachable":
      return "The media server does not answer: is it running (detect up)?";
    case "no_route":
      return "No way for video to the media server: is UDP on this machine blocked?";
    case "unsupported":
      return `This browser cannot send video (${failure.detail}).`;
  }
}

/** What a link's state has to say to the user; empty when it is live. */
export function linkWords(state: LinkState): string {
  if (state.kind === "failed") return failureWords(state.failure);
  return state.kind === "connecting" ? "Connecting the camera…" : "";
}

async function streamOf(source: StreamModel): Promise<MediaStream> {
  const stream = await (source.captureStream ? source.captureStream() : source.stream);
  if (!stream) throw new Error("it is not a media stream");
  return stream;
}

export class SourceFeed {
  readonly #model: ViewModel;
  readonly #serverUrl: URL;
  readonly #onWords: (words: string) => void;
  #reference: string | null = null;
  #link: CameraLink | null = null;

  constructor(model: ViewModel, serverUrl: URL, onWords: (words: string) => void) {
    this.#model = model;
    this.#serverUrl = serverUrl;
    this.#onWords = onWords;
  }

  /** Do as the trait `source` says: feed that one, or none. */
  follow(): void {
    const reference = this.#model.get("source");
    if (reference === this.#reference) return;
    this.#stop();
    this.#reference = reference;
    if (reference === null) return;
    this.#onWords("Waiting for the camera: allow it if the browser asks.");
    this.#feed(reference).catch((error: unknown) => {
      if (this.#reference === reference) this.#onWords(troubleWords(error));
    });
  }

  /** Release the connection; the source's tracks are their owner's to stop. */
  close(): void {
    this.#reference = null;
    this.#link?.leave();
    this.#link = null;
  }

  #stop(): void {
    if (this.#reference === null) return;
    this.close();
    this.#onWords("");
    update(this.#model, { stream_id: null });
  }

  async #feed(reference: string): Promise<void> {
    const source = await this.#model.widget_manager.get_model(modelId(reference));
    const [track] = (await streamOf(source)).getVideoTracks();
    if (!track) throw new Error("it has no video");
    if (this.#reference !== reference) return; // changed while the user was asked for permission
    this.#link = new CameraLink({
      track,
      credential: { kind: "local", name: SOURCE_NAME },
      deviceName: SOURCE_NAME,
      openSocket: socketIoOpener(signalAddress(this.#serverUrl)),
      onWelcome: ({ streamId }) => update(this.#model, { stream_id: streamId }),
      onState: (state) => this.#onWords(linkWords(state)),
    });
    await this.#link.start();
  }
}
