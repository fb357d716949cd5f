import { assertEquals } from "@std/assert";
import { DeadlineError, NetError, osErrorText, ProxyError } from "./errors.ts";

Deno.test.each([
  { code: "ECONNREFUSED", text: "Connection refused (os error 111)" },
  { code: "EHOSTUNREACH", text: "No route to host (os error 113)" },
  { code: "ENETUNREACH", text: "Network is unreachable (os error 101)" },
  { code: "ETIMEDOUT", text: "Connection timed out (os error 110)" },
  { code: "EADDRNOTAVAIL", text: "Cannot assign requested address (os error 99)" },
  { code: "ECONNRESET", text: "Connection reset by peer (os error 104)" },
  { code: "EPIPE", text: "Broken pipe (os error 32)" },
  { code: "EADDRINUSE", text: "Address already in use (os error 98)" },
  { code: "EMFILE", text: "Too many open files (os error 24)" },
  { code: "EPERM", text: "Operation not permitted (os error 1)" },
  { code: "EUNHEARD", text: "EUNHEARD" },
])("osErrorText() words $code as the access log does", ({ code, text }) => {
  assertEquals(osErrorText(code), text);
  assertEquals(new NetError(code).message, text);
});

Deno.test("NetError keeps its code, name and cause", () => {
  const cause = new Error("from the runtime");
  const error = new NetError("EPIPE", { cause });
  assertEquals([error.code, error.name, error.cause], ["EPIPE", "NetError", cause]);
  assertEquals(error instanceof ProxyError, true);
});

Deno.test("NetError takes a message of its own", () => {
  assertEquals(
    new NetError("UNEXPECTED_EOF", { message: "tls handshake eof" }).message,
    "tls handshake eof",
  );
});

Deno.test("DeadlineError is told from the kernel's time-out by its code and words", () => {
  const error = new DeadlineError();
  assertEquals(
    [error.code, error.message, error.name, error instanceof NetError],
    ["DEADLINE_ELAPSED", "deadline has elapsed", "DeadlineError", true],
  );
});
