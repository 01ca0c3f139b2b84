/**
 * Small checks that turn `unknown` into a typed value or leave with a sentence that says what was
 * expected and what came. Used by protocol.ts inside {@link attempt}, which catches them.
 */

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: string };

/** Leaves a parser; never leaves this module. */
class Mismatch extends Error {}

export type Fields = Readonly<Record<string, unknown>>;

export function attempt<T>(read: () => T): Parsed<T> {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof Mismatch || error instanceof SyntaxError) {
      return { ok: false, error: error.message };
    }
    throw error;
  }
}

export function fail(name: string, expected: string, value: unknown): never {
  throw new Mismatch(`${name}: expected ${expected}, got ${describe(value)}`);
}

function describe(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

export function asObject(name: string, value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return fail(name, "an object", value);
  }
  return value as Fields;
}

export function asArray(name: string, value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : fail(name, "an array", value);
}

export function asString(name: string, value: unknown): string {
  return typeof value === "string" ? value : fail(name, "a string", value);
}

export function asNumber(name: string, value: unknown): number {
  return typeof value === "number" && Number.isFinite(value)
    ? value
    : fail(name, "a number", value);
}

export function asInteger(name: string, value: unknown): number {
  const number = asNumber(name, value);
  return Number.isInteger(number) ? number : fail(name, "a whole number", value);
}

export function asPositive(name: string, value: unknown): number {
  const number = asNumber(name, value);
  return number > 0 ? number : fail(name, "a number above 0", value);
}

export function asNumberOrNull(name: string, value: unknown): number | null {
  return value === null || value === undefined ? null : asNumber(name, value);
}

export function asStrings(name: string, value: unknown): string[] {
  return asArray(name, value).map((item, i) => asString(`${name}[${i}]`, item));
}
