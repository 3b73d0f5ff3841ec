/**
 * Build what browsers load: an ES module and a plain script, into dist and into Django's static files.
 *
 *     node build.mjs            build
 *     node build.mjs --check    see whether what is checked in is what would be built
 */

import { copyFile, mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const staticFiles = join(here, "../src/channels/static/channels");
const names = { "channels.mjs": ["index.js", "esm"], "channels.js": ["script.js", "iife"] };

for (const [name, [entry, format]] of Object.entries(names)) {
  await build({
    entryPoints: [join(here, "src", entry)],
    outfile: join(dist, name),
    format,
    bundle: true,
    minify: true,
    // Browsers since 2022: class fields that are private, and AbortSignal.timeout.
    target: ["chrome103", "edge103", "firefox100", "safari16"],
    legalComments: "none",
    banner: { js: "/* channels.js: client/ in the repository of Channels. BSD-3-Clause. */" },
  });
  const built = join(dist, name);
  const served = join(staticFiles, name);
  if (!process.argv.includes("--check")) {
    await mkdir(staticFiles, { recursive: true });
    await copyFile(built, served);
  } else if ((await readFile(built, "utf8")) !== (await readFile(served, "utf8"))) {
    console.error(`${served} is not what client/src makes: run make client`);
    process.exitCode = 1;
  }
}
