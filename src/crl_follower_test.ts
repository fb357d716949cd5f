// Tests of crl_follower.ts and crl_watch.ts, on real files (spec/identity-and-inpod §5.1).
import { assert, assertEquals } from "@std/assert";
import { OddCa } from "../tests/support/certificates.ts";
import { crlPem, makeCrl, signerOf } from "../tests/support/crls.ts";
import { SystemClock } from "./base/system_clock.ts";
import { CrlFollower, type CrlLook } from "./crl_follower.ts";
import { watchCrls } from "./crl_watch.ts";
import { CRL_FILE_BYTES_MAX, type CrlSet } from "./tls/crl.ts";

const ROOT = await OddCa.root();
const SIGNER = await signerOf(ROOT);

/** PEM of a list that revokes so many. */
function list(revoked: number, nextUpdateMs = Date.now() + 3_600_000): string {
  const serials = Array.from({ length: revoked }, (_, at) => Uint8Array.of(1, at));
  return crlPem(makeCrl(SIGNER, { serials, nextUpdateMs }));
}

class World implements AsyncDisposable {
  readonly folder = Deno.makeTempDirSync();
  readonly path = `${this.folder}/ca-crl.pem`;
  readonly lines: string[] = [];
  /** Revoked certificates of each set that was taken. */
  readonly taken: number[] = [];
  readonly failures: string[] = [];
  wallMs = Date.now();
  heard: () => void = () => {};

  readonly options = {
    path: this.path,
    log: (level: string, _scope: string, message: string) =>
      void this.lines.push(`${level} ${message}`),
    onLists: (lists: CrlSet) => {
      this.taken.push(lists.entries);
      this.heard();
    },
    onFailure: (reason: string) => void this.failures.push(reason),
  };

  write(text: string): void {
    Deno.writeTextFileSync(this.path, text);
  }

  follower(): CrlFollower {
    return new CrlFollower({ ...this.options, clock: { wallMs: () => this.wallMs } });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.folder, { recursive: true });
  }
}

async function looks(follower: CrlFollower, count: number): Promise<CrlLook[]> {
  const found: CrlLook[] = [];
  while (found.length < count) found.push(await follower.look());
  return found;
}

Deno.test("CrlFollower.begin() takes what is there, and looks take what comes and stands still", async () => {
  await using world = new World();
  world.write(list(1));
  const follower = world.follower();
  assertEquals(await follower.begin(), "loaded");
  assertEquals(await looks(follower, 1), ["same"]);
  world.write(list(2));
  assertEquals(await looks(follower, 3), ["settling", "loaded", "same"]);
  assertEquals([world.taken, world.failures], [[1, 2], []]);
  assertEquals(world.lines, ["info crl loaded", "info crl loaded"]);
});

Deno.test("CrlFollower takes an empty file for no revocations", async () => {
  await using world = new World();
  world.write(list(1));
  const follower = world.follower();
  await follower.begin();
  world.write("");
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals(world.taken, [1, 0]);
});

Deno.test("CrlFollower waits for a file that is missing at start, and says so once", async () => {
  await using world = new World();
  const follower = world.follower();
  assertEquals([await follower.begin(), ...await looks(follower, 1)], ["gone", "gone"]);
  world.write(list(1));
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals([world.taken, world.failures], [[1], []]);
  assertEquals(world.lines, [
    "warn crl file not found, nothing is revoked until it appears",
    "info crl loaded",
  ]);
});

Deno.test("CrlFollower goes on from a file that is wrong at start", async () => {
  await using world = new World();
  world.write("no list");
  const follower = world.follower();
  assertEquals([await follower.begin(), ...await looks(follower, 1)], ["refused", "refused"]);
  world.write(list(1));
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals([world.taken, world.failures], [[1], ["CRL_MALFORMED"]]);
  assertEquals(world.lines, ["warn failed to initialize crl manager", "info crl loaded"]);
});

Deno.test("CrlFollower keeps what is in use when any list of a new file is wrong, and counts that once", async () => {
  await using world = new World();
  world.write(list(1));
  const follower = world.follower();
  await follower.begin();
  world.write(list(2) + crlPem(new Uint8Array([0x30, 0])));
  assertEquals(await looks(follower, 3), ["settling", "refused", "refused"]);
  world.write(list(3));
  assertEquals(await looks(follower, 2), ["settling", "loaded"]);
  assertEquals([world.taken, world.failures], [[1, 3], ["CRL_MALFORMED"]]);
  assertEquals(world.lines[1], "error crl file is wrong, the lists in use stay");
});

Deno.test("CrlFollower does not wait for a pipe at its file's place, and keeps what is in use", async () => {
  await using world = new World();
  world.write(list(1));
  const follower = world.follower();
  await follower.begin();
  Deno.removeSync(world.path);
  await new Deno.Command("mkfifo", { args: [world.path] }).output();
  assertEquals(await looks(follower, 2), ["settling", "refused"]);
  assertEquals([world.taken, world.failures], [[1], ["UNREADABLE"]]);
});

Deno.test("CrlFollower keeps what is in use when its file goes, and hears when it is back", async () => {
  await using world = new World();
  const text = list(1);
  world.write(text);
  const follower = world.follower();
  await follower.begin();
  Deno.removeSync(world.path);
  assertEquals(await looks(follower, 2), ["gone", "gone"]);
  world.write(text);
  assertEquals(await looks(follower, 2), ["settling", "same"]);
  assertEquals([world.taken, world.failures], [[1], ["GONE"]]);
  assertEquals(world.lines.slice(1), [
    "warn crl file is gone, the lists in use stay",
    "info crl file is again what is in use",
  ]);
});

Deno.test("CrlFollower says once that a list has expired, whenever that happens", async () => {
  await using world = new World();
  world.write(list(1, Date.now() + 60_000));
  const follower = world.follower();
  await follower.begin();
  assertEquals(world.failures, []);
  world.wallMs += 61_000;
  await looks(follower, 2);
  world.write(list(2, Date.now() - 60_000));
  await looks(follower, 3);
  assertEquals([world.taken, world.failures], [[1, 2], ["EXPIRED", "EXPIRED"]]);
  assertEquals(world.lines.at(-1), "warn crl has expired and is used still");
});

Deno.test("CrlFollower refuses what is larger than CRL_FILE_BYTES_MAX, or cannot be read", async () => {
  await using world = new World();
  world.write(list(1));
  const follower = world.follower();
  await follower.begin();
  Deno.truncateSync(world.path, CRL_FILE_BYTES_MAX + 1);
  assertEquals(await looks(follower, 2), ["settling", "refused"]);
  Deno.removeSync(world.path);
  Deno.mkdirSync(world.path);
  assertEquals(await looks(follower, 2), ["settling", "refused"]);
  assertEquals([world.taken, world.failures], [[1], ["CRL_TOO_LARGE", "UNREADABLE"]]);
});

Deno.test("watchCrls() has new lists within 3 s of a swap of ..data, as Kubernetes does it", async () => {
  await using world = new World();
  const version = (name: string, text: string) => {
    Deno.mkdirSync(`${world.folder}/${name}`);
    Deno.writeTextFileSync(`${world.folder}/${name}/ca-crl.pem`, text);
  };
  const point = (name: string) => {
    Deno.symlinkSync(name, `${world.folder}/..data_tmp`);
    Deno.renameSync(`${world.folder}/..data_tmp`, `${world.folder}/..data`);
  };
  version("..1", list(1));
  point("..1");
  Deno.symlinkSync("..data/ca-crl.pem", world.path);
  await using _watch = await watchCrls({ ...world.options, clock: new SystemClock() });
  assertEquals(world.taken, [1]);
  const swapped = new Promise<void>((resolve) => world.heard = resolve);
  version("..2", list(2));
  const startMs = performance.now();
  point("..2");
  await swapped;
  assertEquals(world.taken, [1, 2]);
  assert(performance.now() - startMs < 3_000, `${performance.now() - startMs} ms`);
});
