/**
 * The secrets of this page: the one-time token of the QR code and the resume token that replaces it.
 */
import type { Credential } from "../protocol.ts";

const RESUME_KEY = "detect.resume";

export interface TokenPlaces {
  readonly location: Pick<Location, "hash" | "pathname" | "search">;
  readonly history: Pick<History, "replaceState">;
  /** Lives as long as the tab: a reload resumes, a new tab needs a new code. */
  readonly storage: Pick<Storage, "getItem" | "setItem" | "removeItem">;
}

/**
 * How this page may come in; null when it was opened without a code.
 *
 * The token leaves the address bar at once, so that it is in no screenshot, bookmark or history. A
 * token in the address is newer than anything stored, so it wins.
 */
export function takeCredential(places: TokenPlaces): Credential | null {
  const token = places.location.hash.replace(/^#/, "");
  if (token) {
    const { pathname, search } = places.location;
    places.history.replaceState(null, "", pathname + search);
    forgetResume(places.storage);
    return { kind: "pair", token };
  }
  const resume = places.storage.getItem(RESUME_KEY);
  return resume ? { kind: "resume", token: resume } : null;
}

export function keepResume(storage: TokenPlaces["storage"], token: string): void {
  storage.setItem(RESUME_KEY, token);
}

export function forgetResume(storage: TokenPlaces["storage"]): void {
  storage.removeItem(RESUME_KEY);
}
