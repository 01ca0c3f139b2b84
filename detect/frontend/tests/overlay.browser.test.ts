/** The overlay on a real canvas: what unit tests with a recorder cannot see. */
import { expect, test } from "vitest";
import { classColour, drawBoxes } from "../src/overlay.ts";
import type { Box, SizeWh } from "../src/protocol.ts";

const BOX: Box = { x1: 100, y1: 100, x2: 300, y2: 300, score: 0.9, classId: 0, trackId: 1 };

function draw(boxes: readonly Box[], canvasWh: SizeWh, stale = false): CanvasRenderingContext2D {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = canvasWh;
  const ctx = canvas.getContext("2d");
  if (!ctx) throw new Error("this browser has no 2-D canvas");
  drawBoxes(ctx, boxes, { sizeWh: [640, 480], canvasWh, classNames: ["person"], stale });
  return ctx;
}

function pixel(ctx: CanvasRenderingContext2D, x: number, y: number): readonly number[] {
  return [...ctx.getImageData(x, y, 1, 1).data];
}

/** The same colour by way of the browser's own CSS parser. */
function rgbOf(colour: string): readonly number[] {
  const ctx = document.createElement("canvas").getContext("2d");
  if (!ctx) throw new Error("this browser has no 2-D canvas");
  ctx.fillStyle = colour;
  ctx.fillRect(0, 0, 1, 1);
  return pixel(ctx, 0, 0);
}

test("the edge has the colour of the class, the inside is clear", () => {
  const ctx = draw([BOX], [640, 480]);
  expect(pixel(ctx, 101, 250)).toEqual(rgbOf(classColour(0)));
  expect(pixel(ctx, 200, 200)).toEqual([0, 0, 0, 0]);
});

test("boxes scale with the canvas", () => {
  const ctx = draw([BOX], [1280, 960]);
  expect(pixel(ctx, 202, 500)).toEqual(rgbOf(classColour(0)));
});

test("old boxes are grey", () => {
  const ctx = draw([BOX], [640, 480], true);
  const label = pixel(ctx, 103, 97);
  expect(label[0]).toBe(label[1]);
  expect(label[1]).toBe(label[2]);
  expect(label[3]).toBe(255);
});

test("drawing again starts from a clear canvas", () => {
  const ctx = draw([BOX], [640, 480]);
  drawBoxes(ctx, [], { sizeWh: [640, 480], canvasWh: [640, 480], classNames: [] });
  expect(ctx.getImageData(0, 0, 640, 480).data.some((value) => value > 0)).toBe(false);
});
