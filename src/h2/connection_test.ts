import { assertEquals } from "@std/assert";
import { h2Pair, say } from "../../tests/support/h2_pair.ts";

Deno.test("Http2Connection carries a tunnel both ways and ends it in order", () => {
  const pair = h2Pair();
  const [client, server] = pair.tunnel();
  say(client.stream, "ping");
  pair.run();
  assertEquals([server.text, client.text], ["ping", ""]);
  say(server.stream, "pong");
  server.stream.endWrite();
  pair.run();
  assertEquals([client.text, client.events], ["pong", ["data", "end"]]);
  client.stream.endWrite();
  pair.run();
  assertEquals(client.events, ["data", "end", "close"]);
  assertEquals(server.events, ["data", "end", "close"]);
  assertEquals([pair.client.openStreams, pair.server.openStreams, pair.pool.lent], [0, 0, 0]);
  assertEquals(pair.clientLog.events, ["response 1 200", "idle"]);
});
