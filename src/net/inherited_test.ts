import { assertEquals, assertThrows } from "@std/assert";
import {
  INHERITED_FIRST,
  INHERITED_MAX,
  inheritedDescriptors,
  InheritedListenerError,
} from "./inherited.ts";

Deno.test.each<{ readonly fds: string; readonly expected: readonly number[] }>([
  { fds: "0", expected: [] },
  { fds: "1", expected: [INHERITED_FIRST] },
  { fds: "3", expected: [3, 4, 5] },
])("inheritedDescriptors() of LISTEN_FDS=$fds", ({ fds, expected }) => {
  assertEquals(inheritedDescriptors({ fds, pid: "77" }, 77), { fds: expected, ignored: null });
});

Deno.test("inheritedDescriptors() takes as many as there may be, and not one more", () => {
  const count = (fds: number) =>
    inheritedDescriptors({ fds: String(fds), pid: "77" }, 77).fds.length;
  assertEquals([count(INHERITED_MAX - 1), count(INHERITED_MAX)], [
    INHERITED_MAX - 1,
    INHERITED_MAX,
  ]);
  const error = assertThrows(() => count(INHERITED_MAX + 1), InheritedListenerError);
  assertEquals(error.message, 'Cannot use LISTEN_FDS="65": it must be a number from 0 to 64');
});

Deno.test.each(["", "x", "-1", "1.5", " 1", "1e1", "0x3", "99999999999999999999"])(
  "inheritedDescriptors() refuses LISTEN_FDS=%s",
  (fds) => {
    const error = assertThrows(
      () => inheritedDescriptors({ fds, pid: "77" }, 77),
      InheritedListenerError,
    );
    assertEquals([error.code, error.message.split(":")[0]], [
      "INHERITED_LISTENER",
      `Cannot use LISTEN_FDS=${JSON.stringify(fds)}`,
    ]);
  },
);

Deno.test.each([
  { pid: "78", ignored: "LISTEN_FDS is ignored: LISTEN_PID is 78, this process is 77" },
  { pid: null, ignored: "LISTEN_FDS is ignored: LISTEN_PID is not set, this process is 77" },
  { pid: "", ignored: "LISTEN_FDS is ignored: LISTEN_PID is , this process is 77" },
  { pid: "077", ignored: "LISTEN_FDS is ignored: LISTEN_PID is 077, this process is 77" },
])("inheritedDescriptors() leaves alone what is for another process ($pid)", ({ pid, ignored }) => {
  for (const fds of ["2", "nonsense"]) {
    assertEquals(inheritedDescriptors({ fds, pid }, 77), { fds: [], ignored });
  }
});
