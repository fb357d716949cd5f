// Each odd certificate as the verdict sees it (tests/support/odd_certificates.ts has the table).
import { assert, assertEquals } from "@std/assert";
import { ODD_ROOT, ODD_SHAPES, type OddShape } from "../../tests/support/odd_certificates.ts";
import { ODD_URI } from "../../tests/support/odd_der.ts";
import { parseSpiffeId } from "./spiffe_id.ts";
import { judgePeer, type PeerRule } from "./verdict.ts";
import { VerdictCache } from "./verdict_cache.ts";

const CLIENT: PeerRule = { role: "client", trustDomain: "cluster.local" };
const SERVER: PeerRule = { role: "server", expected: [parseSpiffeId(ODD_URI)] };

/** "accepted" or the code of the rejection, by the plain verdict and twice by one with a memory. */
function outcomes({ chain }: OddShape, peer: PeerRule): string[] {
  const options = { chainDer: chain, rootsDer: [ODD_ROOT.der], peer, nowMs: Date.now() };
  const cache = new VerdictCache();
  return [judgePeer(options), cache.judge(options), cache.judge(options)].map((verdict) =>
    verdict.kind === "accepted" ? "accepted" : verdict.error.code
  );
}

for (const shape of ODD_SHAPES) {
  Deno.test(`judgePeer() of ${shape.name}: client ${shape.client}, server ${shape.server}`, () => {
    assertEquals(outcomes(shape, CLIENT), Array(3).fill(shape.client), shape.why);
    assertEquals(outcomes(shape, SERVER), Array(3).fill(shape.server), shape.why);
  });
}

Deno.test("the table of odd certificates has at least 40 shapes, each with its own name and a reason", () => {
  assert(ODD_SHAPES.length >= 40);
  assertEquals(new Set(ODD_SHAPES.map(({ name }) => name)).size, ODD_SHAPES.length);
  assert(ODD_SHAPES.every(({ why }) => why !== ""));
});
