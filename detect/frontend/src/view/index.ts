/**
 * Entry of the dashboard's bundle, imported by the tiny module of `detect/dashboard/view.js`.
 *
 * @module
 */
import type { ViewModel } from "./model.ts";
import { Session } from "./session.ts";

/** Sessions by model id: two views of one model share one. */
const sessions = new Map<string, Session>();

function sessionOf(model: ViewModel, serverUrl: string): Session {
  const id = model.get("_self_id");
  const known = sessions.get(id);
  if (known && !known.isClosed) return known;
  const session = new Session(model, new URL(serverUrl, location.href));
  sessions.set(id, session);
  return session;
}

/** Show the model in `el` until `signal` aborts. */
export function show(
  model: ViewModel,
  options: { el: HTMLElement; serverUrl: string; signal: AbortSignal },
): void {
  sessionOf(model, options.serverUrl).attach(options.el, options.signal);
}

/** The annotated picture as a stream, for ipywebrtc's recorders. */
export function captureStream(model: ViewModel, serverUrl: string): Promise<MediaStream> {
  return sessionOf(model, serverUrl).captureStream();
}

/** The model is gone. */
export function dispose(model: ViewModel): void {
  const id = model.get("_self_id");
  sessions.get(id)?.close();
  sessions.delete(id);
}
