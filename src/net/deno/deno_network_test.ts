// What is particular to the runtime's sockets; the rest is the suite that every network of real sockets runs.
import { assertEquals } from "@std/assert";
import { networkContract, startListenerProcess } from "../../../tests/support/network_contract.ts";
import { RealNetwork, twoCertificates, until } from "../../../tests/support/real_sockets.ts";
import { adoptBlock } from "../../base/block.ts";
import { UNSENT_BYTES_MAX } from "./socket_channel.ts";

networkContract("deno", (options) => new RealNetwork(options), {
  processFlags: "--allow-net=127.0.0.1 --allow-read",
});

Deno.test("listen() without permission names the flag to give", async () => {
  const child = startListenerProcess("deno", {
    flags: "--allow-read --allow-net=127.0.0.1:1",
    address: "127.0.0.1:15008",
  });
  const { stdout, code } = await child.output();
  await child.stdin.close().catch(() => {});
  assertEquals(code, 1);
  assertEquals(
    new TextDecoder().decode(stdout),
    "PermissionMissingError Permission missing to listen on 127.0.0.1:15008: start with " +
      "--allow-net=127.0.0.1:15008\n",
  );
});

Deno.test("write() takes UNSENT_BYTES_MAX before it answers false", async () => {
  await using real = new RealNetwork();
  const { client, server } = await real.plainPair();
  const block = adoptBlock(new Uint8Array(UNSENT_BYTES_MAX + 1));
  assertEquals(client.write(block, 0, UNSENT_BYTES_MAX - 1), true);
  assertEquals(client.write(block, 0, 1), true);
  assertEquals(client.write(block, 0, 1), false);
  client.reset(null);
  server.reset(null);
  await until(() => real.network.openSockets === 1);
  assertEquals(block.references, 1);
});

Deno.test("1,000 TLS connections opened and closed leave no socket and no timer", async () => {
  const certificates = await twoCertificates();
  await using real = new RealNetwork();
  await real.listen();
  const timersBefore = real.timersWaiting;
  for (let round = 0; round < 100; round++) {
    await Promise.all(Array.from({ length: 10 }, async (_, at) => {
      const { client, server } = await real.securePair(certificates);
      let closes = 0;
      for (const channel of [client, server]) {
        channel.attach({
          onData() {},
          onEnd: () => channel.endWrite(),
          onWritable() {},
          onClose: () => void closes++,
        });
      }
      if (at % 2 === 0) client.endWrite();
      else client.reset(null);
      await until(() => closes === 2);
    }));
  }
  await until(() => real.network.openSockets === 1);
  assertEquals(real.timersWaiting, timersBefore);
});
