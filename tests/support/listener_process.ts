// A process that listens, says the port, and greets whoever comes: for tests of descriptor limits and permissions.
// Run as `deno run … listener_process.ts [address] [deno|native]`; it ends when its standard input does.
import { parseSocketAddress } from "../../src/base/address.ts";
import { adoptBlock } from "../../src/base/block.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";
import { Libc } from "../../src/net/native/libc.ts";
import { CountedObjects } from "../../src/net/native/live_objects.ts";
import { NativeLoop } from "../../src/net/native/loop.ts";
import { NativeNetwork } from "../../src/net/native/native_network.ts";
import type { Network } from "../../src/net/network.ts";
import { LoopPump } from "./native_loop_pump.ts";

const GREETING = adoptBlock(new TextEncoder().encode("hello"));
const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
// As the proxy does: the runtime's signal machinery needs descriptors of its own, and panics without them.
Deno.addSignalListener("SIGTERM", () => Deno.exit(143));

/** The network asked for, and its state on one line. */
function open(kind: string | undefined): { network: Network; state: () => string } {
  if (kind !== "native") {
    const network = new DenoNetwork({ clock: new SystemClock() });
    const state = () => {
      const { listenersRenewed, connectionsRefused } = network.counts;
      return `${network.openSockets} ${listenersRenewed} ${connectionsRefused}`;
    };
    return { network, state };
  }
  const libc = Libc.open();
  const objects = new CountedObjects();
  const loop = new NativeLoop({ libc, objects, onBug: reportError });
  const network = new NativeNetwork({
    libc,
    loop,
    objects,
    tls: null,
    packetMark: null,
    markListeners: false,
    reusePort: false,
  });
  new LoopPump(loop);
  // As the proxy does, once everything native is open.
  Deno.permissions.revokeSync({ name: "ffi" });
  const state = () => {
    const { acceptsStarved, connectionsRefused } = network.counts;
    return `${network.openSockets} ${acceptsStarved} ${connectionsRefused}`;
  };
  return { network, state };
}

const { network, state } = open(Deno.args[1]);
network.listen(
  parseSocketAddress(Deno.args[0] ?? "127.0.0.1:0")!,
  { backlog: 4096, keepalive: null },
  (channel) => {
    channel.attach({
      onData() {},
      onEnd: () => channel.endWrite(),
      onWritable() {},
      onClose() {},
    });
    channel.write(GREETING, 0, GREETING.bytes.length);
  },
  (listener) => {
    if (listener instanceof ProxyError) {
      say(`${listener.name} ${listener.message}`);
      Deno.exit(1);
    }
    say(String(listener.local.port));
  },
);
for await (const _ of Deno.stdin.readable) say(state());
Deno.exit(0);
