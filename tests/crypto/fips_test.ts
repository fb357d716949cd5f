// FIPS with a provider, built for this test: it works like an operator's and is not a validated one.
import { assert, assertEquals } from "@std/assert";
import { testProvider } from "./fips_provider.ts";
import { PROVIDER_VERSION, type ProviderFiles } from "./fips_provider.ts";
import { handshake, refusal } from "./handshake.ts";
import { MeshCa } from "../support/mesh_ca.ts";

const NAME = `OpenSSL FIPS Provider ${PROVIDER_VERSION}`;
/** NIDs of P-256 and P-384 (obj_mac.h). */
const [P_256, P_384] = [415, 715];

/** Copies of both files in a folder of their own, each changed on the way. */
async function changed(
  change: {
    readonly module?: (bytes: Uint8Array) => void;
    readonly config?: (text: string) => string;
  },
): Promise<ProviderFiles & AsyncDisposable> {
  const { modulePath, configPath } = await testProvider();
  const folder = await Deno.makeTempDir();
  const module = await Deno.readFile(modulePath);
  change.module?.(module);
  await Deno.writeFile(`${folder}/fips.so`, module);
  const config = await Deno.readTextFile(configPath);
  await Deno.writeTextFile(`${folder}/fipsmodule.cnf`, change.config?.(config) ?? config);
  return {
    modulePath: `${folder}/fips.so`,
    configPath: `${folder}/fipsmodule.cnf`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("a FIPS data plane names its provider as that names itself, and claims nothing else", async () => {
  const { fips } = await handshake({ fips: await testProvider() });
  assertEquals(fips, `fips: data plane only, provider ${NAME}`);
});

Deno.test("a FIPS data plane shakes hands with approved groups and suites only", async () => {
  const { hello, done, version, suite, group, leaked } = await handshake({
    fips: await testProvider(),
  });
  assertEquals([hello.groups, hello.keyShares], [["P-256", "P-384"], ["P-256"]]);
  assertEquals(hello.suites, ["1302", "1301"]);
  assertEquals({ done, version, suite }, {
    done: true,
    version: "TLSv1.3",
    suite: "TLS_AES_256_GCM_SHA384",
  });
  assert(group === P_256 || group === P_384, `${group}`);
  assertEquals(leaked, {});
});

Deno.test("a FIPS data plane speaks TLS 1.2 by its switch", async () => {
  const { done, hello } = await handshake({ fips: await testProvider(), tls12: true });
  assertEquals(done, true);
  assertEquals(hello.suites, ["1302", "1301", "c02c", "c02b", "c030", "c02f"]);
});

Deno.test("a FIPS data plane refuses a peer of another root", async () => {
  const { rootPem } = await MeshCa.create("another root");
  const { done, verdicts } = await handshake({
    fips: await testProvider(),
    strangeRootPem: rootPem,
  });
  assertEquals([done, verdicts[0]], [false, "UNKNOWN_ISSUER"]);
});

Deno.test("what passes the provider by fails instead of using other algorithms", async () => {
  const sentence = await refusal({ fips: await testProvider(), passByProvider: true });
  assertEquals(sentence.startsWith("no memory for a context"), true, sentence);
});

Deno.test("COMPLIANCE_POLICY=pqc is refused with a provider that lacks the hybrid", async () => {
  const sentence = await refusal({ fips: await testProvider(), pqc: true });
  const reasons = [
    `COMPLIANCE_POLICY=pqc cannot be kept with FIPS_MODULE_PATH: provider ${NAME} does not offer X25519MLKEM768`,
    "COMPLIANCE_POLICY=pqc needs OpenSSL 3.5 or newer: OpenSSL ",
  ];
  assert(reasons.some((reason) => sentence.startsWith(reason)), sentence);
});

Deno.test("a provider with one changed byte fails its self-test, and nothing starts", async () => {
  await using files = await changed({ module: (bytes) => bytes[bytes.length >> 1]! ^= 1 });
  assertEquals(
    await refusal({ fips: files }),
    `Cannot start with FIPS: provider ${files.modulePath} failed its self-test: module integrity failure`,
  );
});

Deno.test("a provider with another checksum fails its self-test, and nothing starts", async () => {
  await using files = await changed({
    config: (text) => text.replace(/(?<=^module-mac = )..:../m, "00:00"),
  });
  assertEquals(
    await refusal({ fips: files }),
    `Cannot start with FIPS: provider ${files.modulePath} failed its self-test: module integrity failure`,
  );
});

Deno.test("a provider that needs its configuration says so", async () => {
  const { modulePath } = await testProvider();
  assertEquals(
    await refusal({ fips: { modulePath, configPath: null } }),
    `Cannot start with FIPS: provider ${modulePath} failed its self-test: missing config data; set FIPS_CONFIG_PATH to what "openssl fipsinstall" wrote for it`,
  );
});

Deno.test("another provider in the place of the FIPS provider is refused", async () => {
  const modulePath = await legacyProvider();
  const sentence = await refusal({ fips: { modulePath, configPath: null } });
  assert(
    sentence.startsWith(
      `Cannot start with FIPS: provider ${modulePath} has no approved AES-256-GCM`,
    ),
    sentence,
  );
});

/** OpenSSL's provider of outdated algorithms, which Debian installs. */
async function legacyProvider(): Promise<string> {
  const architectures = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
  for (const architecture of architectures) {
    const path = `/usr/lib/${architecture}/ossl-modules/legacy.so`;
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  throw new Error("This test needs Debian's libssl3, which brings ossl-modules/legacy.so");
}
