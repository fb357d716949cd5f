// The root file as Kubernetes and operators change it.
import { assertEquals } from "@std/assert";
import { SystemClock } from "./base/system_clock.ts";
import { ROOT_FILE_BYTES_MAX } from "./identity/root_file.ts";
import { watchRoots } from "./root_watch.ts";

class World implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/root-cert.pem`;
  changes = 0;

  watch(): Promise<AsyncDisposable> {
    return watchRoots({
      path: this.path,
      clock: new SystemClock(),
      onChange: () => void this.changes++,
      pollMs: 20,
      settleMs: 10,
    });
  }

  async until(changes: number): Promise<void> {
    const limit = performance.now() + 5_000;
    while (this.changes < changes && performance.now() < limit) await pause(10);
    assertEquals(this.changes, changes);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.folder, { recursive: true });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

Deno.test("what is there at the start is no change; other bytes are one; the same bytes again are none", async () => {
  await using world = new World();
  Deno.writeTextFileSync(world.path, "one");
  await using _watch = await world.watch();
  await pause(100);
  assertEquals(world.changes, 0);
  Deno.writeTextFileSync(world.path, "two");
  await world.until(1);
  Deno.writeTextFileSync(world.path, "two");
  await pause(200);
  assertEquals(world.changes, 1);
});

Deno.test("a file that comes later, goes, and comes back as it was", async () => {
  await using world = new World();
  await using _watch = await world.watch();
  Deno.writeTextFileSync(world.path, "one");
  await world.until(1);
  Deno.removeSync(world.path);
  await pause(100);
  Deno.writeTextFileSync(world.path, "one");
  await pause(200);
  assertEquals(world.changes, 1);
  Deno.writeTextFileSync(world.path, "two");
  await world.until(2);
});

Deno.test("a swap of the symbolic link that Kubernetes makes is seen", async () => {
  await using world = new World();
  for (const [name, text] of [["1", "one"], ["2", "two"]]) {
    Deno.mkdirSync(`${world.folder}/${name}`);
    Deno.writeTextFileSync(`${world.folder}/${name}/root-cert.pem`, text!);
  }
  Deno.symlinkSync("1", `${world.folder}/..data`);
  Deno.symlinkSync("..data/root-cert.pem", world.path);
  await using _watch = await world.watch();
  Deno.symlinkSync("2", `${world.folder}/..next`);
  Deno.renameSync(`${world.folder}/..next`, `${world.folder}/..data`);
  await world.until(1);
});

Deno.test("a file above ROOT_FILE_BYTES_MAX changes nothing, one of that size does", async () => {
  await using world = new World();
  Deno.writeTextFileSync(world.path, "one");
  await using _watch = await world.watch();
  Deno.writeFileSync(world.path, new Uint8Array(ROOT_FILE_BYTES_MAX + 1));
  await pause(200);
  assertEquals(world.changes, 0);
  Deno.writeFileSync(world.path, new Uint8Array(ROOT_FILE_BYTES_MAX));
  await world.until(1);
});
