/**
 * Open the phone's camera, say in our own terms why it did not open, and drive torch and zoom.
 */
import type { Facing } from "../protocol.ts";
import type { CameraFailure } from "./state.ts";

/** What the page sends unless the laptop asks for something else. */
export const DEFAULT_VIDEO = { width: 640, height: 480, frameRate: 30 } as const;

export type CameraResult =
  | { readonly ok: true; readonly stream: MediaStream; readonly track: MediaStreamTrack }
  | { readonly ok: false; readonly failure: CameraFailure };

/** The part of `navigator.mediaDevices` that is needed; tests pass their own. */
export type CameraSource = Pick<MediaDevices, "getUserMedia">;

/** Softer and softer wishes: old iOS refuses unusual sizes, some laptops have no facing mode. */
export function constraintLadder(facing: Facing): readonly MediaStreamConstraints[] {
  const { width, height, frameRate } = DEFAULT_VIDEO;
  return [
    {
      audio: false,
      video: {
        facingMode: { ideal: facing },
        width: { ideal: width },
        height: { ideal: height },
        frameRate: { ideal: frameRate },
      },
    },
    { audio: false, video: { facingMode: { ideal: facing } } },
    { audio: false, video: true },
  ];
}

/** Open the camera. Call from the user's tap, and only while no other track of it is live. */
export async function openCamera(
  facing: Facing,
  source: CameraSource | undefined = globalThis.navigator?.mediaDevices,
  isSecure: boolean = globalThis.isSecureContext,
): Promise<CameraResult> {
  if (!isSecure) return { ok: false, failure: { kind: "insecure" } };
  if (!source?.getUserMedia) return unsupported("navigator.mediaDevices is missing");
  for (const constraints of constraintLadder(facing)) {
    try {
      const stream = await source.getUserMedia(constraints);
      const [track] = stream.getVideoTracks();
      if (!track) return { ok: false, failure: { kind: "no_camera" } };
      return { ok: true, stream, track };
    } catch (error) {
      const failure = cameraFailure(error);
      if (failure.kind !== "unusable") return { ok: false, failure };
    }
  }
  return { ok: false, failure: { kind: "unusable" } };
}

function unsupported(detail: string): CameraResult {
  return { ok: false, failure: { kind: "unsupported", detail } };
}

/** @param error what getUserMedia rejected with; names as in the Media Capture specification */
export function cameraFailure(error: unknown): CameraFailure {
  const name = error instanceof Error ? error.name : "";
  switch (name) {
    case "NotAllowedError":
    case "PermissionDeniedError": // old Chrome
      return { kind: "denied" };
    case "SecurityError":
      return { kind: "insecure" };
    case "NotFoundError":
    case "DevicesNotFoundError": // old Chrome
      return { kind: "no_camera" };
    case "NotReadableError":
    case "TrackStartError": // old Chrome
    case "AbortError":
      return { kind: "in_use" };
    case "OverconstrainedError":
    case "ConstraintNotSatisfiedError": // old Chrome
      return { kind: "unusable" };
    default:
      return { kind: "unsupported", detail: String(error) };
  }
}

/** Which way the open camera looks; null on devices that do not tell (laptops). */
export function facingOf(track: MediaStreamTrack): Facing | null {
  const mode = track.getSettings().facingMode;
  return mode === "environment" || mode === "user" ? mode : null;
}

export function otherFacing(facing: Facing): Facing {
  return facing === "environment" ? "user" : "environment";
}

/** What can be set on the open camera; absent where the device or browser has it not. */
export interface CameraControls {
  readonly hasTorch: boolean;
  readonly zoom: {
    readonly min: number;
    readonly max: number;
    readonly step: number;
    readonly value: number;
  } | null;
}

/** Torch and zoom are of the Image Capture specification, which the DOM types leave out. */
interface ImageCapabilities {
  readonly torch?: boolean | readonly boolean[];
  readonly zoom?: { readonly min: number; readonly max: number; readonly step?: number };
}

export function controlsOf(track: MediaStreamTrack): CameraControls {
  // Firefox has no getCapabilities.
  const capabilities = (track.getCapabilities?.() ?? {}) as ImageCapabilities;
  const { torch, zoom } = capabilities;
  const hasTorch = typeof torch === "boolean" ? torch : (torch?.includes(true) ?? false);
  if (!zoom || !(zoom.max > zoom.min)) return { hasTorch, zoom: null };
  const settings = track.getSettings() as MediaTrackSettings & { zoom?: number };
  const { min, max, step } = zoom;
  return {
    hasTorch,
    zoom: { min, max, step: step || (max - min) / 100, value: settings.zoom ?? min },
  };
}

/** @returns false when the camera refused */
export async function setControl(
  track: MediaStreamTrack,
  control: { readonly torch: boolean } | { readonly zoom: number },
): Promise<boolean> {
  try {
    await track.applyConstraints({ advanced: [control as MediaTrackConstraintSet] });
    return true;
  } catch {
    return false;
  }
}

export function stopStream(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
