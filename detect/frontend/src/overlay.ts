/**
 * Draw detections on a canvas: pure given the context, the boxes and the sizes.
 *
 * Used by the phone page and by the dashboard view, so that an object has the same colour on both.
 */
import type { Box, SizeWh } from "./protocol.ts";

export interface OverlayOptions {
  /** Size of the picture that the boxes' pixels refer to. */
  readonly sizeWh: SizeWh;
  /** Size of the canvas that shows exactly that picture, in canvas pixels. */
  readonly canvasWh: SizeWh;
  readonly classNames: readonly string[];
  /** Canvas pixels per CSS pixel, so that labels are as large on a phone's dense screen. */
  readonly pixelRatio?: number;
  /** The boxes are older than they should be: drawn dashed and grey, and marked. */
  readonly stale?: boolean;
}

/** The part of a 2-D context that is drawn with; tests pass a recorder. */
export type OverlayContext = Pick<
  CanvasRenderingContext2D,
  | "save"
  | "restore"
  | "clearRect"
  | "strokeRect"
  | "fillRect"
  | "fillText"
  | "measureText"
  | "setLineDash"
  | "strokeStyle"
  | "fillStyle"
  | "lineWidth"
  | "font"
  | "textBaseline"
  | "textAlign"
>;

interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const STALE_COLOUR = "hsl(0 0% 62%)";
const INK_DARK = "#10151c";
const INK_LIGHT = "#ffffff";
/** Steps of the golden angle keep the hues of neighbouring class numbers far apart. */
const GOLDEN_ANGLE_DEG = 137.508;

/** Colour of a class: the same on every page and in every session. */
export function classColour(classId: number): string {
  const hue = classHueDeg(classId);
  return `hsl(${hue.toFixed(0)} 90% ${lightnessPercent(hue)}%)`;
}

function classHueDeg(classId: number): number {
  // 145 (green) for class 0: people are the most frequent objects and green reads well on skin.
  return (((145 + classId * GOLDEN_ANGLE_DEG) % 360) + 360) % 360;
}

/** Blues and violets look dark at the lightness that suits yellow and green. */
function lightnessPercent(hueDeg: number): number {
  return hueDeg > 215 && hueDeg < 300 ? 72 : 58;
}

/** Line width in canvas pixels: thin enough for a thumbnail, visible on a big screen. */
export function lineWidthPx(canvasWh: SizeWh): number {
  return Math.max(1.5, Math.min(...canvasWh) / 180);
}

/** Height of the label's letters in canvas pixels: 11 to 28 CSS pixels, as the picture is large. */
export function fontSizePx(canvasWh: SizeWh, pixelRatio = 1): number {
  const shorterCssPx = Math.min(...canvasWh) / pixelRatio;
  return Math.round(Math.min(28, Math.max(11, shorterCssPx / 40)) * pixelRatio);
}

/** What a label says: `person 87 % #3`. */
export function labelText(box: Box, classNames: readonly string[]): string {
  const name = classNames[box.classId] ?? `class ${box.classId}`;
  const percent = `${Math.round(box.score * 100)}%`;
  return box.trackId >= 0 ? `${name} ${percent} #${box.trackId}` : `${name} ${percent}`;
}

/** The box in canvas pixels, cut to the canvas; null when nothing of it is inside. */
export function boxOnCanvas(box: Box, sizeWh: SizeWh, canvasWh: SizeWh): Rect | null {
  const scaleX = canvasWh[0] / sizeWh[0];
  const scaleY = canvasWh[1] / sizeWh[1];
  const left = Math.max(0, box.x1 * scaleX);
  const top = Math.max(0, box.y1 * scaleY);
  const width = Math.min(canvasWh[0], box.x2 * scaleX) - left;
  const height = Math.min(canvasWh[1], box.y2 * scaleY) - top;
  return width > 0 && height > 0 ? { x: left, y: top, width, height } : null;
}

/**
 * Where the label goes: above the box, else inside its top edge, and never out of the picture.
 *
 * @param labelWh size of the label with its padding
 */
export function placeLabel(box: Rect, labelWh: SizeWh, canvasWh: SizeWh): Rect {
  const [width, height] = labelWh;
  const above = box.y - height;
  const y = above >= 0 ? above : box.y;
  return {
    x: Math.max(0, Math.min(box.x, canvasWh[0] - width)),
    y: Math.max(0, Math.min(y, canvasWh[1] - height)),
    width,
    height,
  };
}

/** Clear the canvas and draw `boxes`; the weakest first, so that the surest label is on top. */
export function drawBoxes(
  ctx: OverlayContext,
  boxes: readonly Box[],
  options: OverlayOptions,
): void {
  const { canvasWh, pixelRatio, stale = false } = options;
  const letterPx = fontSizePx(canvasWh, pixelRatio);
  ctx.save();
  ctx.clearRect(0, 0, canvasWh[0], canvasWh[1]);
  ctx.font = `600 ${letterPx}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  for (const box of [...boxes].sort((a, b) => a.score - b.score)) {
    drawBox(ctx, box, letterPx, options);
  }
  if (stale) drawStaleMark(ctx, letterPx, canvasWh);
  ctx.restore();
}

function drawBox(ctx: OverlayContext, box: Box, letterPx: number, options: OverlayOptions): void {
  const { sizeWh, canvasWh, classNames, stale = false } = options;
  const rect = boxOnCanvas(box, sizeWh, canvasWh);
  if (!rect) return;
  const colour = stale ? STALE_COLOUR : classColour(box.classId);
  const width = lineWidthPx(canvasWh);
  const inset = width / 2; // the whole line stays inside the picture
  ctx.setLineDash(stale ? [width * 4, width * 3] : []);
  ctx.lineWidth = width;
  ctx.strokeStyle = colour;
  ctx.strokeRect(
    rect.x + inset,
    rect.y + inset,
    Math.max(0, rect.width - width),
    Math.max(0, rect.height - width),
  );
  const text = labelText(box, classNames);
  drawLabel(ctx, text, { at: rect, canvasWh, letterPx, colour, ink: INK_DARK });
}

interface LabelStyle {
  readonly at: Rect;
  readonly canvasWh: SizeWh;
  readonly letterPx: number;
  readonly colour: string;
  readonly ink: string;
}

function drawLabel(ctx: OverlayContext, text: string, style: LabelStyle): void {
  const { at, canvasWh, letterPx, colour, ink } = style;
  const padding = Math.round(letterPx * 0.35);
  const labelWh = [ctx.measureText(text).width + 2 * padding, letterPx + padding] as const;
  const label = placeLabel(at, labelWh, canvasWh);
  ctx.fillStyle = colour;
  ctx.fillRect(label.x, label.y, label.width, label.height);
  ctx.fillStyle = ink;
  // The middle of the letter box lies above the middle of the letters most labels are made of.
  ctx.fillText(text, label.x + padding, label.y + label.height / 2 + letterPx * 0.06);
}

function drawStaleMark(ctx: OverlayContext, letterPx: number, canvasWh: SizeWh): void {
  const at = { x: 0, y: canvasWh[1], width: 0, height: 0 };
  const colour = "rgb(0 0 0 / 70%)";
  drawLabel(ctx, "old boxes", { at, canvasWh, letterPx, colour, ink: INK_LIGHT });
}
