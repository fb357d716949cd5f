import { assertEquals } from "@std/assert";
import {
  H2_CODE_NUMBERS,
  type H2Code,
  h2CodeOf,
  H2ConnectionError,
  H2StreamError,
} from "./errors.ts";

// The texts of spec/config-and-observability §7.6 are a contract.
Deno.test.each([
  { number: 0, text: "not a result of an error" },
  { number: 1, text: "unspecific protocol error detected" },
  { number: 2, text: "unexpected internal error encountered" },
  { number: 3, text: "flow-control protocol violated" },
  { number: 5, text: "received frame when stream half-closed" },
  { number: 6, text: "frame with invalid size" },
  { number: 7, text: "refused stream before processing any application logic" },
  { number: 8, text: "stream no longer needed" },
  { number: 11, text: "detected excessive load generating behavior" },
])("an error of code $number says: $text", ({ number, text }) => {
  const code = h2CodeOf(number);
  assertEquals(H2_CODE_NUMBERS[code], number);
  const stream = new H2StreamError("", { code, origin: "received" });
  assertEquals(stream.message, `stream error received: ${text}`);
  const connection = new H2ConnectionError("why", { code, origin: "sent by user" });
  assertEquals(connection.message, `connection error sent by user: ${text}`);
});

Deno.test("H2ConnectionError quotes the peer's debug data, and keeps our own detail apart", () => {
  const code: H2Code = "NO_ERROR";
  const received = new H2ConnectionError("max_age", { code, origin: "received" });
  assertEquals(received.message, "connection error received: not a result of an error (max_age)");
  const detected = new H2ConnectionError("Cannot accept DATA", { code: "PROTOCOL_ERROR" });
  assertEquals(detected.message, "connection error detected: unspecific protocol error detected");
  assertEquals([detected.detail, detected.scope], ["Cannot accept DATA", "connection"]);
});

Deno.test("h2CodeOf() takes a code nobody knows for INTERNAL_ERROR", () => {
  assertEquals([h2CodeOf(13), h2CodeOf(14), h2CodeOf(2 ** 32 - 1)], [
    "HTTP_1_1_REQUIRED",
    "INTERNAL_ERROR",
    "INTERNAL_ERROR",
  ]);
});
