import { describe, expect, test } from "vitest";
import {
  type CameraSource,
  cameraFailure,
  constraintLadder,
  controlsOf,
  facingOf,
  openCamera,
  otherFacing,
  setControl,
} from "../src/phone/camera.ts";

function named(name: string): Error {
  return Object.assign(new Error("refused"), { name });
}

/** Answers each call with the next of `answers`: an error, or a number of video tracks. */
function source(...answers: (Error | number)[]): CameraSource & { asked: unknown[] } {
  const asked: unknown[] = [];
  return {
    asked,
    async getUserMedia(constraints) {
      asked.push(constraints);
      const answer = answers.shift() ?? 1;
      if (answer instanceof Error) throw answer;
      const tracks = Array.from({ length: answer }, () => ({}));
      return { getVideoTracks: () => tracks } as unknown as MediaStream;
    },
  };
}

test("asks for the rear camera at 640×480 and 30 fps, without sound", async () => {
  const camera = source();
  const result = await openCamera("environment", camera, true);
  expect(result).toMatchObject({ ok: true });
  expect(camera.asked).toEqual([
    {
      audio: false,
      video: {
        facingMode: { ideal: "environment" },
        width: { ideal: 640 },
        height: { ideal: 480 },
        frameRate: { ideal: 30 },
      },
    },
  ]);
});

test("softer wishes follow when the camera cannot do the first", async () => {
  const camera = source(named("OverconstrainedError"), named("OverconstrainedError"));
  expect(await openCamera("user", camera, true)).toMatchObject({ ok: true });
  expect(camera.asked).toEqual(constraintLadder("user"));
});

test("when nothing helps the camera is unusable", async () => {
  const never = named("OverconstrainedError");
  const result = await openCamera("user", source(never, never, never), true);
  expect(result).toEqual({ ok: false, failure: { kind: "unusable" } });
});

test("a refusal is not asked again", async () => {
  const camera = source(named("NotAllowedError"));
  const result = await openCamera("user", camera, true);
  expect(result).toEqual({ ok: false, failure: { kind: "denied" } });
  expect(camera.asked).toHaveLength(1);
});

test.each([
  ["insecure", source(), false],
  ["unsupported", {} as CameraSource, true],
  ["no_camera", source(0), true],
])("%s", async (kind, camera, isSecure) => {
  expect(await openCamera("user", camera, isSecure)).toMatchObject({ failure: { kind } });
});

test.each([
  ["NotAllowedError", "denied"],
  ["SecurityError", "insecure"],
  ["NotFoundError", "no_camera"],
  ["NotReadableError", "in_use"],
  ["AbortError", "in_use"],
  ["OverconstrainedError", "unusable"],
  ["TypeError", "unsupported"],
])("%s means %s", (name, kind) => {
  expect(cameraFailure(named(name)).kind).toBe(kind);
});

test("a rejection that is no error is told as it is", () => {
  expect(cameraFailure("odd")).toEqual({ kind: "unsupported", detail: "odd" });
});

function track(settings: object, capabilities?: object): MediaStreamTrack {
  const fake: object = { getSettings: () => settings };
  return Object.assign(
    fake,
    capabilities && { getCapabilities: () => capabilities },
  ) as MediaStreamTrack;
}

describe("controls", () => {
  test.each([
    ["Firefox, which has no getCapabilities", undefined],
    ["a camera that can nothing", {}],
    ["a zoom of one step", { torch: false, zoom: { min: 1, max: 1, step: 1 } }],
  ])("none: %s", (_, capabilities) => {
    expect(controlsOf(track({}, capabilities))).toEqual({ hasTorch: false, zoom: null });
  });

  test.each([true, [false, true]])("torch as %j", (torch) => {
    expect(controlsOf(track({}, { torch })).hasTorch).toBe(true);
  });

  test("zoom starts where the camera is", () => {
    const zoom = { min: 1, max: 5, step: 0.5 };
    expect(controlsOf(track({ zoom: 2 }, { zoom })).zoom).toEqual({ ...zoom, value: 2 });
    const stepless = controlsOf(track({}, { zoom: { min: 1, max: 5 } })).zoom;
    expect(stepless).toEqual({ min: 1, max: 5, step: 0.04, value: 1 });
  });

  test("a refused control says so", async () => {
    const refusing = { applyConstraints: () => Promise.reject(named("OverconstrainedError")) };
    expect(await setControl(refusing as unknown as MediaStreamTrack, { torch: true })).toBe(false);
    const willing = { applyConstraints: () => Promise.resolve() };
    expect(await setControl(willing as unknown as MediaStreamTrack, { zoom: 2 })).toBe(true);
  });
});

test.each([
  ["environment", "environment"],
  ["user", "user"],
  ["left", null],
  [undefined, null],
])("facing %s is %s", (facingMode, expected) => {
  expect(facingOf(track({ facingMode }))).toBe(expected);
});

test("flip goes there and back", () => {
  expect(otherFacing(otherFacing("user"))).toBe("user");
});
