// A proxy process that cannot have the cryptography asked for: one sentence, exit 1, nothing listening.
import { assertEquals } from "@std/assert";
import { loopbackBlock } from "../support/loopback.ts";
import { meshFileText } from "../support/mesh_file.ts";
import { Program } from "../support/command_line.ts";
import { testProvider } from "./fips_provider.ts";
import { handshake } from "./handshake.ts";

const STARTED_WITHIN_MS = 20_000;

interface Ending {
  readonly code: number;
  /** Messages that the log has as errors. */
  readonly errors: readonly string[];
  readonly isListening: boolean;
}

/** Runs a proxy until it ends by itself. */
async function endOf(env: Readonly<Record<string, string>>): Promise<Ending> {
  const folder = await Deno.makeTempDir();
  try {
    const ip = `${loopbackBlock()}.1`;
    const workload = { name: "crypto", namespace: "crypto", serviceAccount: "crypto", ip };
    await Deno.writeTextFile(`${folder}/mesh.yaml`, meshFileText({ workloads: [workload] }));
    await using program = new Program({
      flags: ["-A", "--unstable-worker-options"],
      args: ["proxy"],
      env: {
        IO_PROVIDER: "native",
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: "crypto/crypto/crypto",
        LOCAL_XDS_PATH: `${folder}/mesh.yaml`,
        XDS_ADDRESS: "",
        FAKE_CA: "true",
        FAKE_CA_DIR: `${folder}/ca`,
        BIND_ADDRESS: ip,
        IPV6_ENABLED: "false",
        LOG_FORMAT: "json",
        ...env,
      },
    });
    const code = await program.ended(STARTED_WITHIN_MS);
    const lines = program.stdout.split("\n").filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    return {
      code,
      errors: [
        ...lines.filter(({ level }) => level === "error").map(({ message }) => message),
        ...program.stderr.split("\n").filter((line) => line !== ""),
      ],
      isListening: program.stdout.includes("listener established"),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function assertRefused(
  env: Readonly<Record<string, string>>,
  sentence: string,
): Promise<void> {
  const { code, errors, isListening } = await endOf(env);
  assertEquals({ code, errors, isListening }, {
    code: 1,
    errors: [`Error: ${sentence}`],
    isListening: false,
  });
}

Deno.test("a proxy without its libraries ends with one sentence", async () => {
  await assertRefused(
    { OPENSSL_LIB_DIR: "/nonexistent" },
    "Cannot read the folder OPENSSL_LIB_DIR=/nonexistent: it does not exist",
  );
});

Deno.test("a proxy with COMPLIANCE_POLICY=pqc and an older OpenSSL ends with one sentence", async () => {
  // The system's own library, whatever OPENSSL_LIB_DIR says about other tests.
  const { library } = await handshake({ openSslLibDir: null });
  const version = library.split(" ")[1]!;
  if (Number(version.split(".")[1]) < 5) {
    await assertRefused(
      { COMPLIANCE_POLICY: "pqc" },
      `COMPLIANCE_POLICY=pqc needs OpenSSL 3.5 or newer: OpenSSL ${version} has no X25519MLKEM768 key exchange`,
    );
  } else {
    const { hello } = await handshake({ openSslLibDir: null, pqc: true });
    assertEquals(hello.groups, ["X25519MLKEM768"]);
  }
});

Deno.test("a proxy without its FIPS provider ends with one sentence", async () => {
  await assertRefused(
    { FIPS_MODULE_PATH: "/nonexistent/fips.so" },
    "Cannot start with FIPS: FIPS_MODULE_PATH=/nonexistent/fips.so cannot be read",
  );
});

Deno.test("a proxy whose FIPS provider fails its self-test ends with one sentence", async () => {
  const { modulePath, configPath } = await testProvider();
  const folder = await Deno.makeTempDir();
  try {
    const module = await Deno.readFile(modulePath);
    module[module.length >> 1]! ^= 1;
    await Deno.writeFile(`${folder}/fips.so`, module);
    await assertRefused(
      { FIPS_MODULE_PATH: `${folder}/fips.so`, FIPS_CONFIG_PATH: configPath },
      `Cannot start with FIPS: provider ${folder}/fips.so failed its self-test: module integrity failure`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
