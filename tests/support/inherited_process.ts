// A process that listens on what it was handed, and tells whoever comes where they wanted to go: for tests.
// Run as `deno run … inherited_process.ts <descriptors> <address> …`; it ends when its standard input does.
import { formatAddress, parseSocketAddress } from "../../src/base/address.ts";
import { adoptBlock } from "../../src/base/block.ts";
import { ProxyError } from "../../src/base/errors.ts";
import { SystemClock } from "../../src/base/system_clock.ts";
import { DenoNetwork } from "../../src/net/deno/deno_network.ts";
import { inheritedDescriptors } from "../../src/net/inherited.ts";

const say = (text: string) => Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
// As the proxy does: the runtime's signal machinery needs descriptors of its own, and panics without them.
Deno.addSignalListener("SIGTERM", () => Deno.exit(143));
const [fds, ...addresses] = Deno.args;

/** The network, or the sentence why there is none. */
function open(): DenoNetwork {
  try {
    const handed = inheritedDescriptors({ fds: fds!, pid: String(Deno.pid) }, Deno.pid);
    return new DenoNetwork({ clock: new SystemClock(), inherited: handed.fds });
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    say(error.message);
    Deno.exit(1);
  }
}

const network = open();
for (const address of addresses) {
  network.listen(
    parseSocketAddress(address)!,
    { backlog: 128, keepalive: { idleMs: 1_000, intervalMs: 1_000, probes: 3 }, captured: true },
    (channel) => {
      const greeting = adoptBlock(new TextEncoder().encode(formatAddress(channel.local)));
      channel.attach({
        onData() {},
        onEnd: () => channel.endWrite(),
        onWritable() {},
        onClose() {},
      });
      channel.write(greeting, 0, greeting.bytes.length);
    },
    (listener) =>
      say(listener instanceof ProxyError ? listener.message : formatAddress(listener.local)),
  );
}
// Whatever is written to us is a question for the state.
for await (const _ of Deno.stdin.readable) {
  const waiting = network.inheritedWaiting.map(formatAddress);
  say(JSON.stringify({ waiting, renewed: network.counts.listenersRenewed }));
}
network.close();
Deno.exit(0);
