import { assertEquals, assertRejects } from "@std/assert";
import { GrpcError } from "./grpc_error.ts";
import { RequestBody } from "./request_body.ts";

const OVER = new GrpcError("GRPC_CLOSED", { code: "Cancelled", message: "over" });

Deno.test("RequestBody gives frames in order, each when it is asked for", async () => {
  const body = new RequestBody();
  const taken: number[] = [];
  for (const byte of [1, 2]) void body.send(Uint8Array.of(byte)).then(() => taken.push(byte));
  await Promise.resolve();
  assertEquals([taken, body.waitingBytes], [[], 2]);
  const reader = body.stream.getReader();
  assertEquals((await reader.read()).value, Uint8Array.of(1));
  assertEquals([taken, body.waitingBytes], [[1], 1]);
  assertEquals((await reader.read()).value, Uint8Array.of(2));
  assertEquals(taken, [1, 2]);
});

Deno.test("RequestBody wakes a reader that came first", async () => {
  const body = new RequestBody();
  const read = body.stream.getReader().read();
  await body.send(Uint8Array.of(7));
  assertEquals((await read).value, Uint8Array.of(7));
});

Deno.test("RequestBody refuses what waits and what comes after its end", async () => {
  const body = new RequestBody();
  const waiting = assertRejects(() => body.send(Uint8Array.of(1)), GrpcError, "over");
  body.end(OVER);
  await waiting;
  await assertRejects(() => body.send(Uint8Array.of(2)), GrpcError, "over");
  assertEquals((await body.stream.getReader().read()).done, true);
  body.end(OVER);
});

Deno.test("RequestBody refuses frames when its reader goes", async () => {
  const body = new RequestBody();
  const waiting = assertRejects(() => body.send(Uint8Array.of(1)), GrpcError);
  await body.stream.cancel();
  await waiting;
  body.end(OVER);
  assertEquals(body.waitingBytes, 0);
});
