// Odd certificates in real handshakes of one network, on both sides of it: one suite for every network.
import { assertEquals } from "@std/assert";
import { ProxyError } from "../../src/base/errors.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { parseSpiffeId } from "../../src/tls/spiffe_id.ts";
import type { Network, SecureChannel } from "../../src/net/network.ts";
import {
  ALERTS,
  type HandshakeOutcome,
  ODD_ROOT,
  ODD_SHAPES,
  type OddShape,
} from "./odd_certificates.ts";
import { certificate, certifiedKeyOf, keysOf, leafExtensions, ODD_URI, uri } from "./odd_der.ts";
import { fixedSource, type Loopback, until } from "./real_sockets.ts";

const OWN_KEYS = keysOf("p256", "own");
const OWN_URI = "spiffe://cluster.local/ns/default/sa/own";
/** What our side shows. */
const OWN: CertifiedKey = certifiedKeyOf(
  [
    certificate(ODD_ROOT, {
      keys: OWN_KEYS,
      extensions: leafExtensions({ names: [uri(OWN_URI)] }),
    }),
  ],
  OWN_KEYS,
  [ODD_ROOT.der],
);

type Result = SecureChannel | ProxyError;

/** What came of a handshake: what we say of the peer, and the alert that the peer heard, if any. */
interface Played {
  readonly outcome: string;
  readonly alert: string | null;
}

/** @param odd What the odd peer is: the role that we judge it in. */
async function play(
  world: Loopback<Network>,
  shape: OddShape,
  odd: "client" | "server",
): Promise<Played> {
  const peer = certifiedKeyOf(shape.chain, shape.keys, [ODD_ROOT.der]);
  const plain = await world.plainPair();
  const timeoutMs = 3000;
  const results = await Promise.all([
    new Promise<Result>((resolve) =>
      world.network.secureClient(plain.client, {
        certificate: odd === "client" ? peer : OWN,
        expected: [parseSpiffeId(odd === "server" ? ODD_URI : OWN_URI)],
        timeoutMs,
      }, resolve)
    ),
    new Promise<Result>((resolve) =>
      world.network.secureServer(plain.server, {
        certificates: fixedSource(odd === "server" ? peer : OWN),
        timeoutMs,
      }, resolve)
    ),
  ]);
  const [theirs, ours] = odd === "client" ? results : results.toReversed();
  const heard = theirs instanceof ProxyError ? theirs : await afterwards(theirs!, ours!);
  if (!(theirs instanceof ProxyError)) theirs!.reset(null);
  if (!(ours instanceof ProxyError)) ours!.reset(null);
  const outcome = isUnplayable(heard) ? "UNPLAYABLE" : codeOf(ours!);
  const alert = /alert: (\w+)|AlertReceived\((\w+)\)/.exec(heard?.message ?? "");
  return { outcome, alert: alert?.[1] ?? alert?.[2] ?? null };
}

function codeOf(result: Result): string {
  return result instanceof ProxyError ? result.code : "accepted";
}

/** The odd peer failed by itself: at once, or where the runtime finds its own certificate unreadable. */
function isUnplayable(theirs: ProxyError | null): boolean {
  return theirs?.code === "TLS_MATERIAL" || /unsupported protocol/.test(theirs?.message ?? "");
}

/** In TLS 1.3 a client learns after its handshake that it was refused. */
async function afterwards(theirs: SecureChannel, ours: Result): Promise<ProxyError | null> {
  if (!(ours instanceof ProxyError)) return null;
  let error: ProxyError | null | undefined;
  theirs.attach({
    onData() {},
    onEnd: () => theirs.endWrite(),
    onWritable() {},
    onClose: (reason) => error = reason,
  });
  await until(() => error !== undefined);
  return error ?? null;
}

/** Registers two tests for each shape. `make` gives a fresh network on loopback. */
export function oddHandshakes(kind: "deno" | "native", make: () => Loopback<Network>): void {
  for (const shape of ODD_SHAPES) {
    for (const role of ["client", "server"] as const) {
      const column = shape[kind] ?? {};
      const expected: HandshakeOutcome = column[role] ?? shape[role];
      Deno.test(`${kind}: ${shape.name}, as ${role}: ${expected}`, async () => {
        await using world = make();
        const { outcome, alert } = await play(world, shape, role);
        assertEquals(outcome, expected, shape.why);
        // Only this network judges inside the handshake, where there is still somebody to tell.
        if (kind === "native") assertEquals(alert, column.alert ?? ALERTS[expected] ?? null);
      });
    }
  }
}
