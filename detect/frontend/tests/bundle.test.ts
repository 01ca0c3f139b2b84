/** What ends up in the files that browsers load. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { describe, expect, test } from "vitest";

const frontend = fileURLToPath(new URL("..", import.meta.url));
const notices = readFileSync(new URL("../../../THIRD_PARTY_NOTICES", import.meta.url), "utf8");
const entries = ["src/phone/index.ts", "src/view/index.ts"].filter((entry) =>
  existsSync(new URL(`../${entry}`, import.meta.url)),
);

async function bundle(entry: string) {
  const result = await build({
    absWorkingDir: frontend,
    entryPoints: [entry],
    bundle: true,
    format: "esm",
    minify: true,
    write: false,
    metafile: true,
    outdir: "out",
  });
  const packages = Object.keys(result.metafile.inputs)
    .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
    .filter((name) => name !== undefined);
  const code = result.outputFiles.map((file) => file.text).join("\n");
  return { packages: [...new Set(packages)], code };
}

describe.each(entries)("%s", (entry) => {
  test("every bundled package is named in THIRD_PARTY_NOTICES", async () => {
    const { packages } = await bundle(entry);
    expect(packages.filter((name) => !notices.includes(name))).toEqual([]);
  });

  test("loads nothing from other hosts", async () => {
    const { code } = await bundle(entry);
    const hosts = [...code.matchAll(/https?:\/\/([\w.-]+\.[a-z]{2,})/g)].map((match) => match[1]);
    // Names of XML formats and places to read about errors, not addresses that are loaded.
    const harmless = ["www.w3.org", "socket.io", "github.com"];
    expect(hosts.filter((host) => host && !harmless.includes(host))).toEqual([]);
  });
});

test("the phone page loads nothing from other hosts either", () => {
  const html = readFileSync(new URL("../src/phone/phone.html", import.meta.url), "utf8");
  const css = readFileSync(new URL("../src/phone/phone.css", import.meta.url), "utf8");
  expect(html + css).not.toMatch(/(?:src|href)="(?:https?:)?\/\/|url\(/);
});

test("every element the screen looks up is on the page", () => {
  const html = readFileSync(new URL("../src/phone/phone.html", import.meta.url), "utf8");
  const screen = readFileSync(new URL("../src/phone/screen.ts", import.meta.url), "utf8");
  const wanted = [...screen.matchAll(/byId\("([\w-]+)"/g)].map((match) => match[1]);
  expect(wanted.length).toBeGreaterThan(10);
  for (const id of wanted) expect(html).toContain(`id="${id}"`);
});
