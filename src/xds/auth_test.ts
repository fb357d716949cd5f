import { assertEquals, assertRejects } from "@std/assert";
import { requestHeaders, type Token, TOKEN_BYTES_MAX } from "./auth.ts";
import { GrpcError } from "./grpc_error.ts";

const FILE: Token = { kind: "file", path: "/token" };

function headersWith(token: Token | null, content: Uint8Array | string = "") {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const about = { token, clusterId: "c1", headers: [["header_foo", "foo"]] as const };
  return requestHeaders(about, () => Promise.resolve(bytes));
}

async function refusal(promise: Promise<unknown>): Promise<string> {
  const error = await assertRejects(() => promise, GrpcError);
  assertEquals(error.code, "GRPC_TOKEN");
  return error.message;
}

Deno.test("requestHeaders() without a token are the extra ones alone", async () => {
  assertEquals(await headersWith(null), [["header_foo", "foo"]]);
});

Deno.test("requestHeaders() say token and cluster", async () => {
  assertEquals(await headersWith(FILE, "abc"), [
    ["header_foo", "foo"],
    ["authorization", "Bearer abc"],
    ["clusterid", "c1"],
  ]);
  const literal = await headersWith({ kind: "text", token: "lit" });
  assertEquals(literal[1], ["authorization", "Bearer lit"]);
});

Deno.test("requestHeaders() keep a token byte for byte", async () => {
  const headers = await headersWith(FILE, Uint8Array.of(32, 97, 0xe9, 32));
  assertEquals(headers[1], ["authorization", "Bearer  a\u00e9 "]);
});

Deno.test("requestHeaders() read the file for each call", async () => {
  let reads = 0;
  const about = { token: FILE, clusterId: "", headers: [] };
  const readFile = () => Promise.resolve(new TextEncoder().encode(`token${++reads}`));
  await requestHeaders(about, readFile);
  assertEquals((await requestHeaders(about, readFile))[0], ["authorization", "Bearer token2"]);
});

Deno.test("requestHeaders() put the token over an extra header of its name", async () => {
  const headers = [["authorization", "other"], ["clusterid", "other"], ["x", "y"]] as const;
  const about = { token: { kind: "text", token: "t" } as const, clusterId: "c1", headers };
  assertEquals(await requestHeaders(about), [
    ["x", "y"],
    ["authorization", "Bearer t"],
    ["clusterid", "c1"],
  ]);
});

Deno.test("requestHeaders() refuse an empty file with the original's sentence", async () => {
  assertEquals(await refusal(headersWith(FILE, "")), "token file exists, but was empty");
});

Deno.test("requestHeaders() refuse a file that cannot be read, and say which", async () => {
  const readFile = () => Promise.reject(new Deno.errors.NotFound("No such file"));
  const about = { token: FILE, clusterId: "", headers: [] };
  assertEquals(
    await refusal(requestHeaders(about, readFile)),
    `cannot read token file "/token": No such file`,
  );
});

Deno.test.each([
  { name: "a line end", byte: 10 },
  { name: "a null", byte: 0 },
  { name: "a delete", byte: 127 },
])("requestHeaders() refuse $name in a token without showing the token", async ({ byte }) => {
  const message = await refusal(headersWith(FILE, Uint8Array.of(115, 101, 99, byte)));
  assertEquals(message, `token cannot be a header: it has an octet ${byte}`);
});

Deno.test("requestHeaders() take tokens of up to TOKEN_BYTES_MAX", async () => {
  for (const over of [-1, 0, 1]) {
    const headers = headersWith(FILE, "t".repeat(TOKEN_BYTES_MAX + over));
    if (over <= 0) assertEquals((await headers).length, 3);
    else assertEquals((await refusal(headers)).includes("limit is"), true);
  }
});
