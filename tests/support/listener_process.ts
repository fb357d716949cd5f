// A process that listens, says the port, and greets whoever comes: for tests of descriptor limits and permissions.
// Run as `deno run … listener_process.ts [address]`; it ends when its standard input does.
import { ProxyError } from "../../src/base/errors.ts";
import { parseSocketAddress } from "../../src/base/address.ts";
import { adoptBlock } from "../../src/base/block.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";

const GREETING = adoptBlock(new TextEncoder().encode("hello"));
const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
// As the proxy does: the runtime's signal machinery needs descriptors of its own, and panics without them.
Deno.addSignalListener("SIGTERM", () => Deno.exit(143));
const network = new DenoNetwork({ clock: new SystemClock() });

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
for await (const _ of Deno.stdin.readable) {
  const { listenersRenewed, connectionsRefused } = network.counts;
  say(`${network.openSockets} ${listenersRenewed} ${connectionsRefused}`);
}
Deno.exit(0);
