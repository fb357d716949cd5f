// What a proxy makes of all that a control plane can say: its replies and its dump, response by response.
// `xds_dump_expected.json` holds facts about the messages of tests/support/xds_pushes.ts. They agree with the original
// (tests/interop, "Beside the original") but where spec/xds-state-and-dns §6 wants better: endpoints that are not healthy,
// or whose service is gone, stay known; one response that sets and removes a workload leaves nothing of it.
import { assertEquals } from "@std/assert";
import { TEST_NETWORK } from "../support/networks.ts";
import { PUSHES, responseOf } from "../support/xds_pushes.ts";
import { configDump, XdsMesh } from "../support/xds_mesh.ts";
import { describeHeard } from "../support/xds_server.ts";

const EXPECTED = new URL("xds_dump_expected.json", import.meta.url);
const KINDS = ["workloads", "services", "policies", "stagedServices"] as const;

type Json = Readonly<Record<string, unknown>>;
/** Everything in a dump, by kind and name. */
type Snapshot = Readonly<Record<string, Json>>;

interface Step {
  readonly what: string;
  readonly reply: string;
  /** What came or changed, whole; null: gone. */
  readonly changes: Readonly<Record<string, Json>>;
}

function snapshot(dump: Json): Snapshot {
  return Object.fromEntries(
    KINDS.map((kind) => [
      kind,
      Array.isArray(dump[kind])
        ? Object.fromEntries(dump[kind].map((item: Json) => [nameOf(item), item]))
        : dump[kind] as Json,
    ]),
  );
}

function nameOf(item: Json): string {
  // A workload without uid is there, too.
  return String(item["workloadIps"] === undefined ? keyOf(item) : item["uid"] ?? "");
}

function keyOf(item: Json): string {
  return `${item["namespace"]}/${item["hostname"] ?? item["name"]}`;
}

function changes(before: Snapshot, after: Snapshot): Record<string, Json> {
  const found: Record<string, Json> = {};
  for (const kind of KINDS) {
    const [old, now] = [before[kind] ?? {}, after[kind]!];
    const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].sort();
    const changed = names.filter((name) => JSON.stringify(old[name]) !== JSON.stringify(now[name]));
    if (changed.length === 0) continue;
    found[kind] = Object.fromEntries(changed.map((name) => [name, now[name] ?? null]));
  }
  return found;
}

/** Without what the specification leaves to the decoder. */
function replyOf(text: string): string {
  return text.replace(/^\d+ /, "").replace(/(decode|invalid cidr): [^;]*(?=;|$)/g, "$1: …");
}

/** Lists whose order nobody promised. */
function inOrder(_key: string, value: unknown): unknown {
  const isNames = Array.isArray(value) && value.every((item) => typeof item === "string");
  return isNames ? [...value].sort() : value;
}

Deno.test(`[${TEST_NETWORK}] each response of the control plane becomes what the dump shows`, async () => {
  await using mesh = await XdsMesh.start();
  const { server } = mesh;
  mesh.push({
    workloads: [{ name: "client", serviceAccount: "client", workloadIps: [mesh.ip(1)] }],
  });
  await mesh.explain(async () => {
    const proxy = await mesh.proxy(1, "client");
    await server.settled();
    let before = snapshot(await configDump(proxy));
    const heardBefore = server.heard.length;
    const steps: Step[] = [];
    for (const push of PUSHES) {
      const heard = server.heard.length;
      server.say(responseOf(push));
      await server.until(() => server.heard.length > heard, push.what);
      const dump = await configDump(proxy);
      const after = snapshot(dump);
      const reply = replyOf(describeHeard(server.heard[heard]!));
      steps.push(
        JSON.parse(
          JSON.stringify({ what: push.what, reply, changes: changes(before, after) }, inOrder),
        ),
      );
      for (const [kind, key] of [["workloads", "uid"], ["services", "hostname"]] as const) {
        const names = (dump[kind] as Json[]).map((item) => String(item[key] ?? ""));
        assertEquals(names, [...names].sort(), `${kind} are in order after: ${push.what}`);
      }
      before = after;
    }
    assertEquals(server.heard.length - heardBefore, PUSHES.length, "one reply to each");
    const expected: Step[] = JSON.parse(await Deno.readTextFile(EXPECTED));
    for (const [index, step] of steps.entries()) assertEquals(step, expected[index], step.what);
    assertEquals(steps.length, expected.length);
    assertEquals(server.violations, []);
  });
});
