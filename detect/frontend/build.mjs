/**
 * Bundle the phone page and the dashboard view into ../static (or --outdir), with a digest in every file name.
 *
 * Output: phone.html, phone-<hash>.{js,css}, view-<hash>.{js,css} and assets.json, which maps the
 * plain names to the hashed ones. File names change with their content, so that servers may let
 * browsers keep them for ever. Each file is written beside its place and then moved there: a server
 * that reads the folder during a build sees whole files only.
 */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    /** Readable code with source maps. */
    dev: { type: "boolean", default: false },
    outdir: { type: "string", default: join(here, "..", "static") },
  },
});
const outDir = resolve(options.outdir);

/** Bundles by the plain name of their output. */
const entries = { phone: "src/phone/index.ts", view: "src/view/index.ts" };

/** @returns the written files as `{plain name: {name, contents}}` */
async function bundle(name, entry) {
  const result = await esbuild.build({
    absWorkingDir: here,
    entryPoints: { [name]: entry },
    outdir: outDir,
    entryNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    bundle: true,
    format: "esm",
    // Safari 15 is the oldest with every API the phone page asks for without a fallback.
    target: ["es2022", "safari15", "chrome100", "firefox100"],
    minify: !options.dev,
    sourcemap: options.dev ? "inline" : false,
    // "linked" loses the banners of bundled packages; "eof" keeps them in the file itself.
    legalComments: "eof",
    loader: { ".svg": "text" },
    logLevel: "warning",
    write: false,
  });
  return result.outputFiles.map((file) => ({
    plain: `${name}${extname(file.path)}`,
    name: basename(file.path),
    contents: file.contents,
  }));
}

/** Put the hashed names of the bundles into the page. */
async function phonePage(assets) {
  const template = await readFile(join(here, "src/phone/phone.html"), "utf8");
  return template.replace(/\{\{([\w.]+)\}\}/g, (_, plain) => {
    if (!assets[plain]) throw new Error(`phone.html names ${plain}, which the build did not make`);
    return assets[plain];
  });
}

/** Write all files whole, the index last, then remove what no build of now needs. */
async function publish(files) {
  await mkdir(outDir, { recursive: true });
  for (const { name, contents } of files) {
    const part = join(outDir, `.${name}.part`);
    await writeFile(part, contents);
    await rename(part, join(outDir, name));
  }
  const wanted = new Set(files.map((file) => file.name));
  for (const name of await readdir(outDir)) {
    if (!wanted.has(name)) await rm(join(outDir, name), { recursive: true });
  }
}

const files = [];
for (const [name, entry] of Object.entries(entries)) {
  if (!existsSync(join(here, entry))) {
    console.warn(`skipped ${name}: there is no ${entry}`);
    continue;
  }
  files.push(...(await bundle(name, entry)));
}
const assets = Object.fromEntries(files.map((file) => [file.plain, file.name]));
files.push({ plain: "phone.html", name: "phone.html", contents: await phonePage(assets) });
assets["phone.html"] = "phone.html";
files.push({ name: "assets.json", contents: `${JSON.stringify(assets, null, 2)}\n` });
await publish(files);

for (const { name, contents } of files) {
  console.log(`${name.padEnd(24)} ${(contents.length / 1024).toFixed(1).padStart(8)} kB`);
}
