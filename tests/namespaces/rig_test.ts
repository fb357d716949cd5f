// The rig itself: pods reach each other, and nothing is left of them however a test ends.
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { namespaceTest } from "./environment.ts";
import { namespacesInUse, NetworkRig } from "./rig.ts";

namespaceTest("NetworkRig joins pods by both families", async () => {
  await using rig = await NetworkRig.create(["a", "b", "c"]);
  const [a, b, c] = ["a", "b", "c"].map((name) => rig.pod(name));
  const port = await b!.serve("echo");
  for (const from of [a!, c!]) {
    for (const family of [4, 6] as const) {
      const echo = await from.exchange({ ip: b!.ip(family), port }, { bytes: 300_000 });
      assertEquals([echo.error, echo.received], [null, 300_000]);
      assertEquals(echo.receivedSha256, echo.sentSha256);
      assertEquals((await b!.served(port)).at(-1)?.peer, echo.local);
    }
  }
});

namespaceTest("NetworkRig's namespaces end with it, also when a test throws", async () => {
  let made: string[] = [];
  await assertRejects(
    async () => {
      await using rig = await NetworkRig.create(["a", "b"]);
      made = ["a", "b"].map((name) => rig.pod(name).namespace);
      const inUse = await namespacesInUse();
      assertEquals(made.map((namespace) => inUse.includes(namespace)), [true, true]);
      throw new Error("the test failed");
    },
    Error,
    "the test failed",
  );
  const inUse = await namespacesInUse();
  assertEquals(made.map((namespace) => inUse.includes(namespace)), [false, false]);
});

namespaceTest(
  "NetworkRig's namespaces and their programs go with a process that is killed",
  async () => {
    const program = `
    import { WITH_PARENT } from "${new URL("pod.ts", import.meta.url).href}";
    import { NetworkRig } from "${new URL("rig.ts", import.meta.url).href}";
    const rig = await NetworkRig.create(["a", "b"]);
    const [program, ...args] = [...rig.pod("a").enter, ...WITH_PARENT, "sleep", "600"];
    const proxy = new Deno.Command(program, { args, stdout: "null" }).spawn();
    console.log(rig.pod("a").pid + " " + rig.pod("b").pid + " " + proxy.pid);
    setInterval(() => {}, 1_000);`;
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["eval", "--quiet", program],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      const { value } = await reader.read();
      assertMatch(value ?? "", /^\d+ \d+ \d+\n$/);
      child.kill(signal);
      await child.status;
      await reader.cancel();
      const pids = value!.trim().split(" ");
      await waitUntil(() => pids.every((pid) => !isRunning(pid)));
    }
  },
);

function isRunning(pid: string): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(Deno.readTextFileSync(`/proc/${pid}/stat`));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function waitUntil(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("Waited 5 s in vain");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
