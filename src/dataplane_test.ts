import { assertEquals } from "@std/assert";
import {
  CLIENT_IP,
  DataPlaneWorld,
  PLAIN_IP,
  SERVER_IP,
} from "../tests/support/data_plane_world.ts";

Deno.test("startDataPlane() carries a SOCKS5 client's bytes to an application behind two proxies", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  const server = world.server();
  const app = world.app({ ip: SERVER_IP, port: 8080 });

  const user = world.socks({ ip: SERVER_IP, port: 8080 });
  user.send("hello world");
  world.drive(() => user.bytes === 11);
  assertEquals(user.text, "hello world");
  user.channel.endWrite();
  world.drive(() => user.closed);
  world.clock.advance(10);

  assertEquals(app.conversations.length, 1);
  assertEquals(client.events.ends, ["-: ok"]);
  assertEquals(server.events.ends, ["-: ok"]);
  const sent = client.events.openedRecords[0]!;
  const received = server.events.openedRecords[0]!;
  assertEquals([sent.bytesToServer, sent.bytesToClient], [11, 11]);
  assertEquals([received.bytesToServer, received.bytesToClient], [11, 11]);
  assertEquals(sent.facts.traceId, received.facts.traceId);
  world.dispose();
});

Deno.test("startDataPlane() carries a captured connection, in HBONE or in plain TCP", async () => {
  const world = await DataPlaneWorld.create();
  const client = world.client();
  world.server();
  for (const ip of [SERVER_IP, PLAIN_IP]) {
    world.app({ ip, port: 8080 });
    const user = world.captured({ ip, port: 8080 });
    user.send("ping");
    world.drive(() => user.bytes === 4);
    user.channel.endWrite();
    world.drive(() => user.closed);
  }
  assertEquals(client.events.openedRecords.map(({ facts }) => facts.protocol), ["HBONE", "TCP"]);
  assertEquals(client.events.openedRecords[0]!.facts.sourceAddress.ip, CLIENT_IP);
  world.dispose();
});
