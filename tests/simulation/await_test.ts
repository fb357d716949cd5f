// The other half of the proof in no_promises.ts: nothing that the simulation drives says `await`.
import { assert, assertEquals } from "@std/assert";

const SOURCE = new URL("../../src/", import.meta.url);

/** What runs below the data-plane seam (design §3.3). */
const BELOW_THE_SEAM = [
  "base/",
  "h2/",
  "hbone/",
  "inbound/",
  "outbound/",
  "rbac/",
  "net/copy.ts",
  "net/memory/",
  "dataplane.ts",
];

/** Of these, what is about a runtime's loop by name. */
const EXCEPT = ["base/system_clock.ts"];

function filesBelow(path: string): string[] {
  if (path.endsWith(".ts")) return [path];
  return [...Deno.readDirSync(new URL(path, SOURCE))].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesBelow(`${path}${name}/`) : [`${path}${name}`]
  );
}

Deno.test("Nothing below the data-plane seam waits for a promise, a microtask or the runtime's timers", () => {
  const files = BELOW_THE_SEAM.flatMap(filesBelow).filter((path) =>
    path.endsWith(".ts") && !path.endsWith("_test.ts") && !EXCEPT.includes(path)
  );
  assert(files.length > 50, `only ${files.length} files looked at`);
  const used = files.flatMap((path) => {
    const text = Deno.readTextFileSync(new URL(path, SOURCE));
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
    const words = code.match(/\b(?:async|await|Promise|queueMicrotask|setTimeout|setInterval)\b/g);
    return (words ?? []).map((word) => `${path}: ${word}`);
  });
  assertEquals(used, []);
});
