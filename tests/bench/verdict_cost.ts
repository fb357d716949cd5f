// What our own verification costs one handshake: both proxies judge their peer, once each.
import process from "node:process";
import { FakeCa } from "../../src/identity/fake_ca.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { parseSpiffeId } from "../../src/tls/spiffe_id.ts";
import { type JudgeOptions, judgePeer, type PeerRule } from "../../src/tls/verdict.ts";
import { VerdictCache } from "../../src/tls/verdict_cache.ts";

/** Of one handshake, both sides together. */
export interface VerdictCost {
  /** CPU microseconds where both peers were met before: chains come out of the cache. */
  readonly cachedUs: number;
  /** CPU microseconds where neither was: paths are built and signatures checked. */
  readonly uncachedUs: number;
}

/** Until the code is compiled as it will be. */
const WARM_UP_HANDSHAKES = 300;

/**
 * Measured in this process, on certificates as the bench's proxies have them (P-256, right below one root).
 * @param options.handshakes How many are averaged, with and without the cache.
 */
export async function verdictCost(options: { readonly handshakes: number }): Promise<VerdictCost> {
  const nowMs = Date.now();
  const ca = await FakeCa.create({ nowMs });
  const identity = (name: string) => parseSpiffeId(`spiffe://cluster.local/ns/bench/sa/${name}`);
  const client = await ca.issue(identity("client"), { nowMs });
  const server = await ca.issue(identity("server"), { nowMs });
  const asked = [
    question(client, { role: "client", trustDomain: "cluster.local" }),
    question(server, { role: "server", expected: [server.identity] }),
  ];
  const cache = new VerdictCache();
  const judgements = {
    cached: () => asked.map((each) => cache.judge(each())),
    uncached: () => asked.map((each) => judgePeer(each())),
  };
  for (const judge of Object.values(judgements)) {
    for (let round = 0; round < WARM_UP_HANDSHAKES; round++) {
      const refused = judge().find(({ kind }) => kind === "rejected");
      if (refused !== undefined) throw new Error("A good certificate was refused");
    }
  }
  return {
    cachedUs: cpuUs(judgements.cached, options.handshakes),
    uncachedUs: cpuUs(judgements.uncached, options.handshakes),
  };
}

/** A network hands out fresh copies of what the peer showed; the roots are our certificate's own. */
function question({ chainDer, rootsDer }: CertifiedKey, peer: PeerRule): () => JudgeOptions {
  return () => ({
    chainDer: chainDer.map((der) => der.slice()),
    rootsDer,
    peer,
    nowMs: Date.now(),
  });
}

/** CPU of this process per call. */
function cpuUs(call: () => unknown, times: number): number {
  const before = process.cpuUsage();
  for (let round = 0; round < times; round++) call();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / times;
}
