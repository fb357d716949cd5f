// tasks/grants.sh: what `deno task proxy` grants beside its permission set follows from the environment, and is never all.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { SYSTEM_ROOT_PATHS } from "../../src/xds/trust_roots.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

async function grants(
  args: readonly string[],
  env: Readonly<Record<string, string>> = { FAKE_CA: "true" },
): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["tasks/grants.sh", ...args],
    cwd: ROOT,
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "", ...env },
    stdout: "piped",
    stderr: "piped",
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split(",");
}

Deno.test("the net grants of a task begin with its whole permission set", async () => {
  for (const set of ["proxy", "proxy-native"] as const) {
    const { net } = config.permissions[set];
    const [first, ...rest] = await grants(["net", set], { XDS_ADDRESS: "", FAKE_CA: "true" });
    assertEquals([first, ...rest.slice(0, net.length)], ["127.0.0.1:15000", ...net]);
    assertStringIncludes(
      config.tasks[set === "proxy" ? "proxy" : "proxy:native"].command,
      `-P=${set} --allow-net=$(sh tasks/grants.sh net ${set})`,
    );
  }
});

Deno.test.each([
  { address: undefined, granted: "localhost:15012" },
  { address: "istiod.x.svc:15012", granted: "istiod.x.svc:15012" },
  { address: "https://istiod.x.svc", granted: "istiod.x.svc:443" },
  { address: "http://127.0.0.1:15010", granted: "127.0.0.1:15010" },
  { address: "http://[::1]", granted: "[::1]:80" },
  { address: "https://[::1]:15012/path", granted: "[::1]:15012" },
])("XDS_ADDRESS=$address grants $granted", async ({ address, granted }) => {
  const without = await grants(["net", "proxy"], { XDS_ADDRESS: "", FAKE_CA: "true" });
  const more = await grants(
    ["net", "proxy"],
    {
      FAKE_CA: "true",
      ...(address === undefined ? {} : { XDS_ADDRESS: address }),
    },
  );
  assertEquals(more.filter((grant) => !without.includes(grant)), [granted]);
  assertEquals(more.length, without.length + 1);
});

Deno.test("the CA is granted too, once, unless a throw-away one does its work", async () => {
  const both = { XDS_ADDRESS: "istiod.x.svc:15012", CA_ADDRESS: "https://ca.x.svc" };
  const { length } = await grants(["net", "proxy"], { XDS_ADDRESS: "", FAKE_CA: "true" });
  const granted = async (env: Readonly<Record<string, string>>) =>
    (await grants(["net", "proxy"], env)).filter((grant) => grant.includes(".svc"));
  assertEquals(await granted(both), ["ca.x.svc:443", "istiod.x.svc:15012"]);
  assertEquals(await granted({ ...both, FAKE_CA: "true" }), ["istiod.x.svc:15012"]);
  const same = { ...both, CA_ADDRESS: both.XDS_ADDRESS };
  assertEquals((await grants(["net", "proxy"], same)).length, length + 1);
});

Deno.test("in a cluster the control plane is where istiod is", async () => {
  const inCluster = await grants(["net", "proxy"], {
    KUBERNETES_SERVICE_HOST: "",
    FAKE_CA: "true",
  });
  assert(inCluster.includes("istiod.istio-system.svc:15012"));
});

Deno.test("names are those of the four prefixes, whatever their values", async () => {
  const names = await grants(["names"], {
    ISTIO_META_A: "1",
    ISTIO_METAJSON_B: "{}",
    XDS_HEADER_C: "line\nISTIO_META_FORGED=1",
    CA_HEADER_D: "",
    OTHER: "ISTIO_META_E=1",
  });
  // A value's own line may look like a variable: a name that is not set, which nobody minds.
  assertEquals(names.filter((name) => name !== "ISTIO_META_FORGED").sort(), [
    "CA_HEADER_D",
    "ISTIO_METAJSON_B",
    "ISTIO_META_A",
    "XDS_HEADER_C",
  ]);
});

Deno.test.each([
  { path: "/nowhere/crl/ca-crl.pem", folder: "/nowhere/crl/" },
  { path: "ca-crl.pem", folder: "." },
])("CRL_PATH=$path grants its folder, which need not be there yet", async ({ path, folder }) => {
  const usual = await grants(["read"]);
  const named = await grants(["read"], { FAKE_CA: "true", CRL_PATH: path });
  assertEquals(named.filter((grant) => !usual.includes(grant)), [folder]);
});

Deno.test("reads are the mesh file, roots and tokens that exist; texts in their place are none", async () => {
  const usual = await grants(["read"]);
  assert(usual.includes("./var/run/secrets") && usual.includes("/etc/resolv.conf"));
  const named = await grants(["read"], {
    LOCAL_XDS_PATH: "examples/demo.yaml",
    XDS_ROOT_CA: "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
    CA_ROOT_CA: "./README.md",
    AUTH_TOKEN: "a/literal/token",
  });
  assert(named.includes("examples/demo.yaml") && named.includes("./README.md"));
  assertEquals(named.length, usual.length + 1, named.join());
  // As the README's command names them: files of the working directory.
  const bare = await grants(["read"], { XDS_ROOT_CA: "LICENSE", AUTH_TOKEN: "mod.ts" });
  assertEquals(bare.slice(-2), ["LICENSE", "mod.ts"]);
});

Deno.test("SYSTEM is every place where the operating system's roots may be", async () => {
  const named = await grants(["read"], { XDS_ROOT_CA: "SYSTEM" });
  assertEquals(named.slice(-SYSTEM_ROOT_PATHS.length), SYSTEM_ROOT_PATHS);
});
