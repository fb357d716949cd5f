import { assertEquals, assertRejects } from "@std/assert";
import { GrpcError } from "./grpc_error.ts";
import { readTrustRoots, ROOT_BYTES_MAX, SYSTEM_ROOT_PATHS } from "./trust_roots.ts";

const ONE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const TWO = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n";

/** A disk that has these files. */
function disk(files: Record<string, string>) {
  return (path: string) => {
    const text = files[path];
    if (text === undefined) return Promise.reject(new Deno.errors.NotFound("No such file"));
    return Promise.resolve(new TextEncoder().encode(text));
  };
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await assertRejects(() => promise, GrpcError);
  return `${error.code}: ${error.message}`;
}

Deno.test("readTrustRoots() finds every certificate of a file, whatever is between them", async () => {
  const readFile = disk({ "/root.pem": `# comment\n${ONE}text\n${TWO}` });
  assertEquals(await readTrustRoots({ kind: "file", path: "/root.pem" }, readFile), [ONE, TWO]);
});

Deno.test("readTrustRoots() reads the file anew each time", async () => {
  const files = { "/root.pem": ONE };
  const read = () => readTrustRoots({ kind: "file", path: "/root.pem" }, disk(files));
  assertEquals(await read(), [ONE]);
  files["/root.pem"] = TWO;
  assertEquals(await read(), [TWO]);
});

Deno.test("readTrustRoots() of a text without certificates gives none, which is no error", async () => {
  assertEquals(await readTrustRoots({ kind: "pem", pem: "./missing/root-cert.pem" }), []);
  assertEquals(await readTrustRoots({ kind: "pem", pem: ONE + TWO }), [ONE, TWO]);
});

Deno.test("readTrustRoots() says which file it could not read", async () => {
  assertEquals(
    await refusal(readTrustRoots({ kind: "file", path: "/root.pem" }, disk({}))),
    `GRPC_ROOTS: cannot read trust roots "/root.pem": No such file`,
  );
});

Deno.test("readTrustRoots() takes the first list of the system that is there", async () => {
  const last = SYSTEM_ROOT_PATHS.at(-1)!;
  assertEquals(await readTrustRoots({ kind: "system" }, disk({ [last]: TWO })), [TWO]);
  const both = disk({ [SYSTEM_ROOT_PATHS[0]!]: ONE, [last]: TWO });
  assertEquals(await readTrustRoots({ kind: "system" }, both), [ONE]);
  const none = await refusal(readTrustRoots({ kind: "system" }, disk({})));
  assertEquals(none.startsWith("GRPC_ROOTS: no system roots at /etc/ssl/certs/"), true);
});

Deno.test("readTrustRoots() takes files of up to ROOT_BYTES_MAX", async () => {
  for (const over of [-1, 0, 1]) {
    const readFile = disk({ "/big": ONE.padEnd(ROOT_BYTES_MAX + over, "\n") });
    const read = readTrustRoots({ kind: "file", path: "/big" }, readFile);
    if (over <= 0) assertEquals(await read, [ONE]);
    else assertEquals((await refusal(read)).includes("limit is"), true);
  }
});
