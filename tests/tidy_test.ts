// Promises about the shape of the repository, kept by a test so that no reviewer has to.
import { assertEquals } from "@std/assert";

const ROOT = new URL("../", import.meta.url);
const SOURCE = new URL("src/", ROOT);

/** Which folders of src/ may import which others (design §4, with seam/ as decided in ARCHITECTURE.md). */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  tls: ["base"],
  rbac: ["base", "tls"],
  seam: ["base", "tls", "rbac"],
  h2: ["base"],
  net: ["base", "tls"],
  hbone: ["base", "tls", "h2", "net", "seam"],
  outbound: ["base", "tls", "rbac", "seam", "h2", "net", "hbone"],
  inbound: ["base", "tls", "rbac", "seam", "h2", "net", "hbone"],
  state: ["base", "tls", "rbac", "seam"],
  proto: [],
  xds: ["base", "tls", "rbac", "seam", "state", "proto"],
  dns: ["base", "net", "seam"],
  identity: ["base", "tls", "proto"],
  telemetry: ["base", "tls", "rbac", "seam"],
  admin: ["base", "tls", "rbac", "seam", "telemetry"],
  config: ["base", "tls", "rbac"],
  isolate: ["base", "tls", "rbac", "seam", "h2", "net", "hbone", "dataplane.ts"],
};

/** Folders that may open files and sockets themselves; the rest get a Network, a Clock, a reader. */
const MAY_DO_IO = ["net", "xds", "identity", "admin", "telemetry"];

/** The ends of the border between isolates: they start the worker, wake it, and open its runtime. */
const ISOLATE_ENDS = [
  "isolate/host.ts",
  "isolate/worker_run.ts",
  "isolate/data_plane_worker.ts",
];

/** Modules of the runtime's Node layer that do no I/O. */
const PURE_NODE_MODULES = ["node:crypto", "node:buffer"];

interface SourceFile {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
}

function sourceFiles(folder = SOURCE, prefix = ""): SourceFile[] {
  const found: SourceFile[] = [];
  for (const entry of Deno.readDirSync(folder)) {
    const path = prefix + entry.name;
    if (entry.isDirectory) {
      found.push(...sourceFiles(new URL(`${entry.name}/`, folder), `${path}/`));
    } else if (entry.name.endsWith(".ts")) {
      const text = Deno.readTextFileSync(new URL(entry.name, folder));
      found.push({ path, folder: path.includes("/") ? path.split("/")[0]! : "", text });
    }
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

const FILES = sourceFiles();
const PRODUCT = FILES.filter(({ path }) => !path.endsWith("_test.ts"));

/** Specifiers of static and dynamic imports and re-exports. */
function importsOf(text: string): string[] {
  const pattern = /(?:\bfrom\s+|\bimport\s+|\bimport\()\s*"([^"]+)"/g;
  return [...text.matchAll(pattern)].map((match) => match[1]!);
}

Deno.test("src/ has exactly the folders of the import table", () => {
  const folders = [...new Set(FILES.map(({ folder }) => folder))].filter((name) => name !== "");
  assertEquals(folders.sort(), Object.keys(MAY_IMPORT).sort());
});

Deno.test("each folder imports only what its row of the table allows", () => {
  const broken: string[] = [];
  for (const { path, folder, text } of PRODUCT) {
    if (folder === "") continue;
    const allowed = [folder, ...MAY_IMPORT[folder] ?? []];
    for (const specifier of importsOf(text)) {
      if (!specifier.startsWith(".")) continue;
      const target = new URL(specifier, new URL(path, SOURCE)).href;
      if (!target.startsWith(SOURCE.href)) {
        if (folder === "telemetry" && target === new URL("deno.json", ROOT).href) continue;
        broken.push(`${path} leaves src/: ${specifier}`);
        continue;
      }
      const targetFolder = target.slice(SOURCE.href.length).split("/")[0]!;
      if (!allowed.includes(targetFolder)) broken.push(`${path} -> ${specifier}`);
    }
  }
  assertEquals(broken, []);
});

Deno.test("only net/ and the edges name Deno or node I/O", () => {
  const broken: string[] = [];
  for (const { path, folder, text } of PRODUCT) {
    if (folder === "" || MAY_DO_IO.includes(folder) || ISOLATE_ENDS.includes(path)) continue;
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
    if (/\bDeno\./.test(code)) broken.push(`${path} names Deno`);
    for (const specifier of importsOf(code)) {
      if (specifier.startsWith("node:") && !PURE_NODE_MODULES.includes(specifier)) {
        broken.push(`${path} -> ${specifier}`);
      }
    }
  }
  assertEquals(broken, []);
});

Deno.test("the data path uses no promise, await or microtask", () => {
  const folders = ["base", "h2", "hbone", "outbound", "inbound", "rbac", "seam", "tls"];
  const broken: string[] = [];
  for (const { path, folder, text } of PRODUCT) {
    const below = folders.includes(folder) || path === "net/copy.ts" ||
      path.startsWith("net/memory/") || path.startsWith("net/native/") || path === "dataplane.ts";
    if (!below || path === "base/system_clock.ts") continue;
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "")
      .replace(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g, '""');
    if (/\b(async|await|Promise|queueMicrotask|setTimeout|setInterval)\b/.test(code)) {
      broken.push(path);
    }
  }
  assertEquals(broken, []);
});

Deno.test("every folder of src/ and tests/ says in a README what it owns", () => {
  const missing: string[] = [];
  for (const base of ["src/", "tests/"]) {
    for (const entry of Deno.readDirSync(new URL(base, ROOT))) {
      if (!entry.isDirectory) continue;
      const readme = new URL(`${base}${entry.name}/README.md`, ROOT);
      try {
        Deno.statSync(readme);
      } catch {
        missing.push(`${base}${entry.name}/README.md`);
      }
    }
  }
  assertEquals(missing, []);
});

Deno.test("every file of the product begins with a comment that says what it is", () => {
  const silent = PRODUCT.filter(({ text }) => !text.startsWith("//") && !text.startsWith("/*"));
  assertEquals(silent.map(({ path }) => path), []);
});

Deno.test("every named maximum has a test that names it", () => {
  const testText = FILES.filter(({ path }) => path.endsWith("_test.ts")).map(({ text }) => text);
  for (const folder of ["tests/e2e/", "tests/simulation/", "tests/support/", "tests/interop/"]) {
    for (const entry of Deno.readDirSync(new URL(folder, ROOT))) {
      if (!entry.name.endsWith(".ts")) continue;
      testText.push(Deno.readTextFileSync(new URL(folder + entry.name, ROOT)));
    }
  }
  const all = testText.join("\n");
  const untested: string[] = [];
  for (const { path, text } of PRODUCT) {
    for (const match of text.matchAll(/export const ([A-Z][A-Z0-9_]*_MAX)\b/g)) {
      if (!all.includes(match[1]!)) untested.push(`${path}: ${match[1]}`);
    }
  }
  assertEquals(untested, []);
});

Deno.test("nothing in the repository names a machine, a registry host or a key", () => {
  const forbidden = [
    /\/(?:home|root|work)\/[a-z]+\//,
    /registry\.npmjs\.org|proxy\.golang\.org|deb\.debian\.org|files\.pythonhosted\.org/,
    // A whole key in base64, not the words themselves, which parsers and tests need.
    /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----\s*[A-Za-z0-9+/=]{40,}/,
  ];
  const ignored = Deno.readTextFileSync(new URL(".gitignore", ROOT)).split("\n");
  const broken: string[] = [];
  const walk = (folder: URL, prefix: string) => {
    for (const entry of Deno.readDirSync(folder)) {
      if (entry.name === ".git" || ignored.includes(`${entry.name}/`)) continue;
      const path = prefix + entry.name;
      const url = new URL(entry.name + (entry.isDirectory ? "/" : ""), folder);
      if (entry.isDirectory) walk(url, `${path}/`);
      else if (path !== "tests/tidy_test.ts") {
        const text = Deno.readTextFileSync(url);
        for (const pattern of forbidden) if (pattern.test(text)) broken.push(`${path}: ${pattern}`);
      }
    }
  };
  walk(ROOT, "");
  assertEquals(broken, []);
});
