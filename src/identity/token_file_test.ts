// Tokens as files have them, and as headers take them.
import { assertEquals, assertRejects } from "@std/assert";
import { requestHeaders } from "../xds/auth.ts";
import { GrpcError } from "../xds/grpc_error.ts";
import { tokenFileReader } from "./token_file.ts";

const TOKEN = { kind: "file", path: "istio-token" } as const;

/** The value of `authorization` for a file with this text. */
async function authorization(text: string): Promise<string | undefined> {
  const readFile = tokenFileReader(() => Promise.resolve(new TextEncoder().encode(text)));
  const about = { token: TOKEN, clusterId: "Kubernetes", headers: [] };
  return new Map(await requestHeaders(about, readFile)).get("authorization");
}

Deno.test.each([
  { name: "as it is", text: "a.b.c" },
  { name: "without LF", text: "a.b.c\n" },
  { name: "without CR LF, however often", text: "a.b.c\r\n\r\n\n" },
])("tokenFileReader() gives a token $name", async ({ text }) => {
  assertEquals(await authorization(text), "Bearer a.b.c");
});

Deno.test("tokenFileReader() leaves spaces alone: only line ends are nobody's", async () => {
  assertEquals(await authorization(" a b \n"), "Bearer  a b ");
});

Deno.test.each([
  { name: "nothing", text: "" },
  { name: "line ends", text: "\r\n\n" },
])("tokenFileReader() makes an empty token of $name", async ({ text }) => {
  const { message } = await assertRejects(() => authorization(text), GrpcError);
  assertEquals(message, "token file exists, but was empty");
});

Deno.test("tokenFileReader() leaves a line end inside to whoever judges tokens", async () => {
  const { message } = await assertRejects(() => authorization("a\nb"), GrpcError);
  assertEquals(message, "token cannot be a header: it has an octet 10");
});

Deno.test("tokenFileReader() reads again each time, and passes errors on", async () => {
  let reads = 0;
  const read = tokenFileReader(() => {
    if (++reads === 3) return Promise.reject(new Error("gone"));
    return Promise.resolve(new Uint8Array([reads]));
  });
  assertEquals([...await read("f"), ...await read("f")], [1, 2]);
  await assertRejects(() => read("f"), Error, "gone");
});
