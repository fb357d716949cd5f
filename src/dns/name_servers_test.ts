// Tests of name_servers.ts.
import { assertEquals } from "@std/assert";
import { VirtualClock } from "../base/virtual_clock.ts";
import { FAILED_MS, NameServers } from "./name_servers.ts";

const [A, B, C] = [1, 2, 3].map((last) => ({ ip: `10.0.0.${last}`, port: 53 }));

Deno.test("NameServers keeps the order of the file while nothing is known", () => {
  assertEquals(new NameServers([A!, B!, C!], new VirtualClock()).ranked(), [A, B, C]);
});

Deno.test("NameServers prefers the quicker, once it is quicker for a while", () => {
  const servers = new NameServers([A!, B!], new VirtualClock());
  servers.heard(A!, 10);
  servers.heard(B!, 5);
  assertEquals(servers.ranked(), [B, A]);
  servers.heard(B!, 20);
  assertEquals(servers.ranked(), [B, A]);
  servers.heard(B!, 30);
  assertEquals(servers.ranked(), [A, B]);
});

Deno.test("NameServers puts one that failed last, for FAILED_MS or until it answers", () => {
  const clock = new VirtualClock();
  const servers = new NameServers([A!, B!], clock);
  servers.heard(A!, null);
  assertEquals(servers.ranked(), [B, A]);
  clock.advance(FAILED_MS - 1);
  assertEquals(servers.ranked(), [B, A]);
  clock.advance(1);
  assertEquals(servers.ranked(), [A, B]);
  servers.heard(A!, null);
  servers.heard(A!, 1);
  servers.heard(B!, 2);
  assertEquals(servers.ranked(), [A, B]);
});
