// Python's h2 as a client of our inbound: legal frames in any order, drawn from a seed.
import { assertEquals } from "@std/assert";
import { serveEcho } from "../support/echo_server.ts";
import { findPeer, identityOf, InteropRig, Peer } from "./rig.ts";

const SEEDS = 12;
const STREAMS = 6;
const STREAM_BYTES = 300_001;
const SCRIPT = new URL("python/any_order.py", import.meta.url).pathname;

interface Tunnel {
  readonly status: string;
  readonly bytesReceived: number;
  readonly sent: string;
  readonly received: string;
}

/** INTEROP_SEED=n replays one. */
function seeds(): number[] {
  const one = Deno.env.get("INTEROP_SEED");
  return one === undefined ? Array.from({ length: SEEDS }, (_, index) => index) : [Number(one)];
}

Deno.test("inbound takes frames of Python's h2 in any legal order, to the byte", async (test) => {
  // The distribution's own Python first: that is the one its package is for.
  const python = await findPeer(
    ["/usr/bin/python3", "python3"],
    ["-c", "import h2, hyperframe"],
    "Debian's python3-h2, or h2 from PyPI",
  );
  await using rig = await InteropRig.create(["server"]);
  const echo = rig.use(serveEcho(rig.ip("server")));
  const proxy = await rig.startProxy("server");
  const leaf = await rig.leaf("python-client");
  const authority = `${rig.ip("server")}:${echo.port}`;
  for (const seed of seeds()) {
    await test.step(`seed ${seed}`, async () => {
      await using peer = new Peer(python, [
        ...[SCRIPT, rig.ip("server"), leaf.cert, leaf.key, leaf.root, authority],
        ...[`${seed}`, `${STREAMS}`, `${STREAM_BYTES}`],
      ]);
      const tunnels = await peer.next() as Tunnel[];
      assertEquals(tunnels.length, STREAMS);
      for (const { status, bytesReceived, sent, received } of tunnels) {
        assertEquals({ status, bytesReceived, received }, {
          status: "200",
          bytesReceived: STREAM_BYTES,
          received: sent,
        });
      }
    });
  }
  const line = await proxy.accessLine((each) => each["dst.hbone_addr"] === authority);
  assertEquals(line.message, "connection complete");
  assertEquals(line["src.identity"], identityOf("python-client"));
  assertEquals([line.bytes_sent, line.bytes_recv], [STREAM_BYTES, STREAM_BYTES]);
});
