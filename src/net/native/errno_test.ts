import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { osErrorText } from "../../base/errors.ts";
import * as errno from "./errno.ts";
import { errnoName, neededAtStart, netErrorOf } from "./errno.ts";
import { NativeStartError } from "./start_error.ts";

Deno.test("errnoName() knows every number of the table, and says so where it does not", () => {
  const numbers = Object.entries(errno).filter(([, value]) => typeof value === "number");
  assertEquals(numbers.length >= 40, true);
  for (const [name, number] of numbers) assertEquals(errnoName(number as number), name);
  assertEquals(errnoName(77), "ERRNO_77");
});

Deno.test("errnoName() agrees with the numbers of error texts", () => {
  const table = errno as unknown as Record<string, number>;
  for (const name of ["EPERM", "EMFILE", "EADDRINUSE", "ECONNRESET", "EHOSTUNREACH", "ENOBUFS"]) {
    assertStringIncludes(osErrorText(name), `(os error ${table[name]})`);
  }
});

Deno.test("netErrorOf() is a NetError whose code is the name", () => {
  const error = netErrorOf(errno.ECONNREFUSED);
  assertEquals([error.code, error.message], [
    "ECONNREFUSED",
    "Connection refused (os error 111)",
  ]);
});

Deno.test.each([
  {
    errno: errno.EPERM,
    text: "socketpair failed: Operation not permitted (os error 1); a seccomp",
  },
  { errno: errno.ENOSYS, text: "socketpair failed: ENOSYS; a seccomp" },
  { errno: errno.EMFILE, text: "socketpair failed: Too many open files (os error 24)" },
])("neededAtStart() names the call and $text", ({ errno, text }) => {
  const error = assertThrows(() => neededAtStart("socketpair", -errno), NativeStartError);
  assertEquals(error.code, "NATIVE_START");
  assertStringIncludes(error.message, `Cannot start the native network: ${text}`);
  assertEquals(neededAtStart("socketpair", 0), 0);
});
