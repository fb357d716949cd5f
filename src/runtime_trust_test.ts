// The runtime's client asks whom we say, and believes whom we say.
import { assertEquals, assertThrows } from "@std/assert";
import { readConfig } from "./config/config.ts";
import { ConfigError } from "./config/errors.ts";
import { PROXY_VARIABLES, requireOwnRoots } from "./runtime_trust.ts";

const MODULE = new URL("./runtime_trust.ts", import.meta.url).href;

function settings(address: string) {
  const env: Record<string, string> = {
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: "a/b/c",
    FAKE_CA: "true",
    XDS_ADDRESS: address,
    XDS_ROOT_CA: "/root.pem",
  };
  return readConfig((name) => env[name], { exists: (path) => path === "/root.pem" });
}

function refusal(address: string, env: Readonly<Record<string, string>>): string | null {
  try {
    requireOwnRoots(settings(address), (name) => env[name]);
    return null;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

Deno.test.each([
  { address: "https://istiod:15012", env: { DENO_TLS_CA_STORE: "" }, said: null },
  { address: "http://127.0.0.1:15010", env: {}, said: null },
  { address: "", env: {}, said: null },
  {
    address: "https://istiod:15012",
    env: {},
    said:
      "invalid configuration: public certificate authorities could vouch for https://istiod:15012: start with DENO_TLS_CA_STORE= (set and empty)",
  },
  {
    address: "https://istiod:15012",
    env: { DENO_TLS_CA_STORE: "", NODE_EXTRA_CA_CERTS: "more.pem" },
    said:
      "invalid configuration: what NODE_EXTRA_CA_CERTS names could vouch for https://istiod:15012: unset it",
  },
  {
    address: "https://istiod:15012",
    env: { DENO_TLS_CA_STORE: "", DENO_CERT: "more.pem" },
    said:
      "invalid configuration: what DENO_CERT names could vouch for https://istiod:15012: unset it",
  },
])("requireOwnRoots() for '$address' with $env: $said", ({ address, env, said }) => {
  assertEquals(refusal(address, env as Record<string, string>), said);
});

Deno.test("requireOwnRoots() looks at this process's environment", () => {
  const store = Deno.env.get("DENO_TLS_CA_STORE");
  try {
    Deno.env.delete("DENO_TLS_CA_STORE");
    assertThrows(() => requireOwnRoots(settings("https://istiod:15012")), ConfigError);
  } finally {
    if (store !== undefined) Deno.env.set("DENO_TLS_CA_STORE", store);
  }
});

Deno.test("after forgetProxies() a request goes to its address, whatever the environment said", async () => {
  const proxy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const at = ({ addr }: Deno.TcpListener) => `127.0.0.1:${addr.port}`;
  const answer = async (listener: Deno.TcpListener, name: string) => {
    const conn = await listener.accept();
    await conn.read(new Uint8Array(1024));
    const head = `HTTP/1.1 200 OK\r\ncontent-length: ${name.length}\r\nconnection: close\r\n\r\n`;
    await conn.write(new TextEncoder().encode(head + name));
    conn.close();
  };
  const served = [answer(proxy, "proxy"), answer(server, "server")];
  const ask = async (before: string) => {
    const program = `import { forgetProxies } from ${JSON.stringify(MODULE)};
      ${before};
      const client = Deno.createHttpClient({});
      console.log(await (await fetch("http://${at(server)}/", { client })).text());
      Deno.exit(0);`;
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(file, program);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-check", "-A", file],
      env: Object.fromEntries(PROXY_VARIABLES.map((name) => [name, `http://${at(proxy)}`])),
      stdout: "piped",
      stderr: "piped",
    }).output();
    await Deno.remove(file);
    return new TextDecoder().decode(stdout).trim() || new TextDecoder().decode(stderr);
  };
  try {
    assertEquals(await ask(""), "proxy"); // What the runtime does by itself.
    assertEquals(await ask("forgetProxies()"), "server");
    await Promise.all(served);
  } finally {
    proxy.close();
    server.close();
  }
});
