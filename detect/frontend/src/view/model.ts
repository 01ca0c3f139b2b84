/**
 * The one file that names the view's traits; `tests/unit/test_dashboard_view.py` compares it with
 * Python. Traits are few and slow: nothing that changes with every frame belongs here.
 */
import type { StreamState } from "../protocol.ts";

/** Whether the page and the media server are connected. */
export type Connection = "connecting" | "open" | "closed";

/** Synced traits of `detect.dashboard.DetectionView`, by the names and types of Python. */
export interface Traits {
  /** Id of this model: an anywidget model proxy cannot tell its own. */
  _self_id: string;
  /** File name of the bundle this code was loaded from; empty when it is not built. */
  _bundle: string;
  /** Prefix of the media server's routes; empty: `detect/` under the page's own base URL. */
  server_url: string;
  /** Stream to watch; null: the newest live one. */
  stream_id: string | null;
  /** Reference to an ipywebrtc `MediaStream` model that feeds the server, or null. */
  source: string | null;
  /** Page → kernel: what the watched stream does. */
  state: StreamState;
  /** Page → kernel: the stream that is watched in fact. */
  shown_stream: string | null;
  /** Page → kernel: words about the state, from the server or about the source. */
  message: string;
  /** Page → kernel: connection of the page to the media server. */
  connection: Connection;
  /** Page → kernel: false while the page is in the background. */
  is_visible: boolean;
}

/** What an ipywebrtc stream model, and ours once it is patched, can do. */
export interface StreamModel {
  captureStream?: () => Promise<MediaStream> | MediaStream;
  readonly stream?: Promise<MediaStream> | MediaStream;
}

/** The part of an anywidget model that is used here. */
export interface ViewModel {
  get<K extends keyof Traits>(name: K): Traits[K];
  set<K extends keyof Traits>(name: K, value: Traits[K]): void;
  save_changes(): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
  send(content: unknown): void;
  readonly widget_manager: { get_model(id: string): Promise<StreamModel> };
}

/** Kernel → page. */
export interface DownloadMessage {
  readonly type: "download";
  readonly name: string;
  readonly mime: string;
}

/** Page → kernel, as custom messages. */
export type PageMessage =
  | { readonly type: "heartbeat"; readonly visible: boolean }
  | { readonly type: "bye" };

/** Set only what differs, so that an unchanged figure costs no message to the kernel. */
export function update(model: ViewModel, changes: Partial<Traits>): void {
  let isChanged = false;
  for (const name of Object.keys(changes) as (keyof Traits)[]) {
    const value = changes[name];
    if (value === undefined || model.get(name) === value) continue;
    model.set(name, value);
    isChanged = true;
  }
  if (isChanged) model.save_changes();
}

/** Listen until `signal` aborts. */
export function listen(
  model: ViewModel,
  event: string,
  callback: (...args: never[]) => void,
  signal: AbortSignal,
): void {
  if (signal.aborted) return;
  model.on(event, callback);
  signal.addEventListener("abort", () => model.off(event, callback), { once: true });
}
