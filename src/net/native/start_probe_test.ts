import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ENOSYS } from "./errno.ts";
import { Libc } from "./libc.ts";
import { NativeStartError } from "./start_error.ts";
import { probeCalls } from "./start_probe.ts";

const REFUSE_CALL = new URL("../../../tests/support/refuse_call.ts", import.meta.url).pathname;

/** Probes in a process under a filter that refuses `call` with EPERM; gives what it printed. */
async function probeWithout(call: string): Promise<string> {
  const script = await Deno.makeTempFile({ suffix: ".ts" });
  const imports = Object.entries({ libc: "Libc", start_probe: "probeCalls" })
    .map(([file, name]) => `import { ${name} } from "${new URL(`${file}.ts`, import.meta.url)}";`);
  await Deno.writeTextFile(
    script,
    `${imports.join("\n")}
    const libc = Libc.open();
    try { probeCalls(libc); console.log("allowed"); } catch (error) { console.log(error.message); }`,
  );
  const deno = Deno.execPath();
  const run = ["run", "--quiet", "--no-check", "-A"];
  const { stdout, stderr } = await new Deno.Command(deno, {
    args: [...run, REFUSE_CALL, call, "1", deno, ...run, script],
    env: { NO_COLOR: "1" },
  }).output();
  await Deno.remove(script);
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

Deno.test("probeCalls() changes nothing where everything is allowed", () => {
  using libc = Libc.open();
  probeCalls(libc);
  probeCalls(libc);
});

Deno.test("probeCalls() names a call that the kernel does not have", () => {
  using libc = Libc.open();
  const without = new Proxy(libc, {
    get(target, name) {
      if (name === "writev") return () => -ENOSYS;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const error = assertThrows(() => probeCalls(without), NativeStartError);
  assertStringIncludes(error.message, "writev failed: ENOSYS; a seccomp profile");
});

// The runtime itself needs epoll_create1 and socketpair: it does not start where they are refused.
Deno.test.each([{ call: "accept4" }, { call: "setsockopt" }])(
  "probeCalls() says in one sentence that a seccomp profile forbids $call",
  async ({ call }) => {
    assertEquals(
      await probeWithout(call),
      `Cannot start the native network: ${call} failed: Operation not permitted (os error 1); ` +
        "a seccomp profile or another sandbox forbids it\n",
    );
  },
);
