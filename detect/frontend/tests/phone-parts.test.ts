import { describe, expect, test } from "vitest";
import { deviceName } from "../src/phone/device.ts";
import { Rate } from "../src/phone/rate.ts";
import { canvasSize, hasSameOrientation } from "../src/phone/stage.ts";
import { forgetResume, keepResume, type TokenPlaces, takeCredential } from "../src/phone/token.ts";
import { ScreenLock } from "../src/phone/wakelock.ts";

describe("token", () => {
  function places(hash: string): TokenPlaces & { address: string } {
    const stored = new Map<string, string>();
    const self = {
      address: `/phone${hash}`,
      location: { hash, pathname: "/phone", search: "" },
      history: {
        replaceState: (_data: unknown, _title: string, url?: string | URL | null) => {
          self.address = String(url);
        },
      },
      storage: {
        getItem: (key: string) => stored.get(key) ?? null,
        setItem: (key: string, value: string) => void stored.set(key, value),
        removeItem: (key: string) => void stored.delete(key),
      },
    };
    return self;
  }

  test("is taken from the address and removed from it", () => {
    const page = places("#aZ_9-x");
    expect(takeCredential(page)).toEqual({ kind: "pair", token: "aZ_9-x" });
    expect(page.address).toBe("/phone");
  });

  test("is replaced by the resume token, which a reload finds", () => {
    const page = places("");
    expect(takeCredential(page)).toBeNull();
    keepResume(page.storage, "r1");
    expect(takeCredential(page)).toEqual({ kind: "resume", token: "r1" });
    forgetResume(page.storage);
    expect(takeCredential(page)).toBeNull();
  });

  test("a newly scanned code wins over what was stored", () => {
    const page = places("#new");
    keepResume(page.storage, "old");
    expect(takeCredential(page)).toEqual({ kind: "pair", token: "new" });
    expect(page.storage.getItem("detect.resume")).toBeNull();
  });

  test("odd characters break nothing", () => {
    expect(takeCredential(places("#%zz"))).toEqual({ kind: "pair", token: "%zz" });
  });
});

describe("stage", () => {
  test.each([
    ["upright phone", [480, 640], [390, 600], 3, [780, 1040]],
    ["sideways phone", [640, 480], [600, 390], 2, [1040, 780]],
    ["plain screen", [640, 480], [640, 480], 1, [640, 480]],
    ["nothing to see", [640, 480], [0, 0], 1, [1, 1]],
  ] as const)("canvas of %s", (_, picture, element, ratio, expected) => {
    expect(canvasSize(picture, element, ratio)).toEqual(expected);
  });

  test.each([
    [[640, 480], [1280, 720], true],
    [[480, 640], [720, 1280], true],
    [[640, 480], [480, 640], false],
    [[480, 480], [640, 480], false],
  ] as const)("%j and %j: %s", (a, b, expected) => {
    expect(hasSameOrientation(a, b)).toBe(expected);
  });
});

describe("rate", () => {
  test("counts what came in the last two seconds", () => {
    const rate = new Rate();
    expect(rate.perSecond(0)).toBeNull();
    for (let ms = 0; ms <= 10_000; ms += 50) rate.add(ms);
    expect(rate.perSecond(10_000)).toBeCloseTo(20, 5);
  });

  test("falls while nothing comes, and is unknown after two seconds", () => {
    const rate = new Rate();
    for (let ms = 0; ms <= 1_000; ms += 100) rate.add(ms);
    expect(rate.perSecond(2_000)).toBeCloseTo(5, 5);
    expect(rate.perSecond(5_000)).toBeNull();
    rate.add(6_000);
    rate.clear();
    rate.add(6_001);
    expect(rate.perSecond(6_001)).toBeNull();
  });
});

test.each([
  ["iPhone", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Safari/604.1", 5],
  ["iPad", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", 5],
  ["Mac", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", 0],
  ["Android phone", "Mozilla/5.0 (Linux; Android 10; K) Chrome/140.0 Mobile Safari/537.36", 5],
  ["Pixel 8", "Mozilla/5.0 (Linux; Android 15; Pixel 8 Build/AP4A.1) Chrome/99 Mobile", 5],
  ["Pixel 8", "Mozilla/5.0 (Linux; Android 15; Pixel 8) Chrome/99 Mobile", 5],
  ["Windows computer", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0", 0],
  ["Linux computer", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", 0],
  ["Camera", "", 0],
])("device name %s", (expected, userAgent, touchPoints) => {
  expect(deviceName(userAgent, touchPoints)).toBe(expected);
});

describe("screen lock", () => {
  function world() {
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const sentinels: { released: boolean }[] = [];
    const wakeLock = {
      async request() {
        const sentinel = {
          released: false,
          async release() {
            sentinel.released = true;
          },
        };
        sentinels.push(sentinel);
        return sentinel;
      },
    };
    const life = new AbortController();
    const lock = new ScreenLock(
      document as unknown as Document,
      wakeLock as unknown as WakeLock,
      life.signal,
    );
    return { document, sentinels, lock, life };
  }
  const settle = () => new Promise((resolve) => setImmediate(resolve));

  test("is held while wanted and given back after", async () => {
    const { lock, sentinels } = world();
    lock.want(true);
    lock.want(true);
    await settle();
    expect(sentinels).toEqual([expect.objectContaining({ released: false })]);
    lock.want(false);
    expect(sentinels[0]?.released).toBe(true);
  });

  test("is taken again when the page is seen again", async () => {
    const { lock, sentinels, document } = world();
    lock.want(true);
    await settle();
    const [first] = sentinels;
    if (first) first.released = true; // what browsers do to a hidden page
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(sentinels).toHaveLength(1);
    document.visibilityState = "visible";
    document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    expect(sentinels).toHaveLength(2);
  });

  test("ends with the page, also when it is granted late", async () => {
    const { lock, sentinels, life } = world();
    lock.want(true);
    life.abort();
    await settle();
    expect(sentinels[0]?.released).toBe(true);
  });

  test("is not missed where there is none", () => {
    const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
    const { signal } = new AbortController();
    const lock = new ScreenLock(document as unknown as Document, undefined, signal);
    expect(() => lock.want(true)).not.toThrow();
  });
});
