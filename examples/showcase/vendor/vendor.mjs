/**
 * Bring the front-end libraries into the static files, with their licences:
 *
 *     npm install --no-package-lock && node vendor.mjs
 *
 * Yjs is released as modules that import lib0, so the two become one file; nothing is changed.
 */

import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const target = join(here, "../showcase/static/showcase/vendor");

await mkdir(target, { recursive: true });
await build({
  entryPoints: [join(modules, "yjs/dist/yjs.mjs")],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  outfile: join(target, "yjs.mjs"),
});
await copyFile(join(modules, "uplot/dist/uPlot.esm.js"), join(target, "uplot.mjs"));
await copyFile(join(modules, "uplot/dist/uPlot.min.css"), join(target, "uplot.css"));
const licences = [];
for (const name of ["yjs", "lib0", "uplot"]) {
  const { version, license } = JSON.parse(await readFile(join(modules, name, "package.json")));
  const text = await readFile(join(modules, name, "LICENSE"), "utf8");
  licences.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
}
await writeFile(join(target, "LICENSES.txt"), licences.join("\n----\n\n"));
