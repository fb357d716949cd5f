// 15008 of a proxy as scanners see it: exactly TLS 1.3, the two suites, a client certificate demanded
// (spec/identity-and-inpod §4.1).
import { assert, assertEquals } from "@std/assert";
import { testProvider } from "./fips_provider.ts";
import { ROOT_NAME, ScanTarget } from "./scan_target.ts";
import { findTool, run } from "./tools.ts";

const TLS13_SUITES = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"];
const TLS12_SUITES_ECDSA = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];

/** What sslscan found, in its order. */
interface SslscanReport {
  readonly versions: readonly string[];
  readonly suites: readonly string[];
  readonly groups: readonly string[];
  readonly preferred: readonly string[];
  readonly text: string;
  readonly xml: string;
}

async function sslscan(address: string): Promise<SslscanReport> {
  const folder = await Deno.makeTempDir();
  try {
    const args = ["--no-colour", "--show-client-cas", `--xml=${folder}/report.xml`, address];
    const text = await run(await findTool("sslscan"), args, folder);
    const xml = await Deno.readTextFile(`${folder}/report.xml`);
    const all = (pattern: RegExp) => [...xml.matchAll(pattern)].map((match) => match[1]!);
    return {
      versions: all(/<protocol type="\w+" version="([\d.]+)" enabled="1"/g),
      suites: all(/<cipher [^>]*cipher="([^"]+)"/g),
      preferred: all(/<cipher status="preferred" [^>]*cipher="([^"]+)"/g),
      groups: all(/<group [^>]*id="0x([0-9a-f]{4})"/g),
      text,
      xml,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Findings of testssl.sh by id. */
async function testssl(address: string): Promise<ReadonlyMap<string, string>> {
  const folder = await Deno.makeTempDir();
  try {
    const checks = [
      ...["--protocols", "--server-preference", "--server-defaults", "--each-cipher", "--pfs"],
      // Weaknesses that a handshake can show.
      ...["--heartbleed", "--ccs-injection", "--renegotiation", "--crime", "--tls-fallback"],
    ];
    const args = ["--quiet", "--color", "0", "--warnings", "batch", ...checks, "--jsonfile"];
    await runScanner(
      await findTool("testssl"),
      [...args, `${folder}/report.json`, address],
      folder,
    );
    const findings = JSON.parse(await Deno.readTextFile(`${folder}/report.json`));
    return new Map(findings.map((found: { id: string; finding: string }) => [
      found.id,
      found.finding,
    ]));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Suites that testssl.sh got an answer for, by OpenSSL's names, sorted. */
function suitesOf(found: ReadonlyMap<string, string>): string[] {
  // `x1302   TLS_AES_256_GCM_SHA384   ECDH 253   AESGCM …`
  return [...found].filter(([id]) => /^cipher_x/.test(id)).map(([, text]) => text.split(/ +/)[1]!)
    .sort();
}

/** How often testssl.sh may begin. */
const SCANS_MAX = 3;

/**
 * testssl.sh ends with the number of its complaints, such as a name that is none of DNS. Its first look takes an alert for
 * a failed connection, if that comes before its client has ended: then it has not begun, and begins again.
 */
async function runScanner(program: string, args: readonly string[], cwd: string): Promise<void> {
  for (let scan = 1;; scan++) {
    const command = new Deno.Command(program, { args: [...args], cwd, stdin: "null" });
    const { code, stdout } = await command.output();
    if (code < 242) return; // From there on it could not do its work.
    const said = new TextDecoder().decode(stdout);
    if (scan === SCANS_MAX || !said.includes("cannot connect")) throw new Error(said.slice(-2000));
    // It writes over no report, not even over its own.
    for (const { name } of [...Deno.readDirSync(cwd)]) await Deno.remove(`${cwd}/${name}`);
  }
}

Deno.test("sslscan finds TLS 1.3, two suites and no more on 15008", async () => {
  await using target = await ScanTarget.start();
  const report = await sslscan(target.address);
  assertEquals(report.versions, ["1.3"]);
  assertEquals(report.suites, TLS13_SUITES);
  assertEquals(report.preferred, TLS13_SUITES.slice(0, 1));
  // P-256, P-384, X25519; Debian 12's sslscan knows no hybrids.
  assertEquals(report.groups, ["0017", "0018", "001d"]);
  assert(report.xml.includes('<renegotiation supported="0"'), report.text);
  assert(report.text.includes(`Acceptable client certificate CA names:\n/CN=${ROOT_NAME}`));
});

Deno.test("testssl.sh finds TLS 1.3, two suites and no more on 15008", async () => {
  await using target = await ScanTarget.start();
  const found = await testssl(target.address);
  assertEquals(
    Object.fromEntries(["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "ALPN_HTTP2"]
      .map((id) => [id, found.get(id)])),
    {
      SSLv2: "not offered",
      SSLv3: "not offered",
      TLS1: "not offered",
      TLS1_1: "not offered",
      TLS1_2: "not offered",
      TLS1_3: "offered with final",
      ALPN_HTTP2: "h2",
    },
  );
  assertEquals(suitesOf(found), [...TLS13_SUITES].sort());
  assertEquals(found.get("cipherorder_TLSv1_3"), TLS13_SUITES.join(" "));
  assert(found.get("TLS_extensions")!.includes("certificate authorities/#47"));
  assert(found.get("TLS_session_ticket")!.startsWith("no "), found.get("TLS_session_ticket"));
  assertEquals(found.get("sessionresumption_ticket"), "not supported");
  assertEquals(found.get("SSL_sessionID_support"), "no");
  assertEquals(found.get("cert_numbers"), "1", "The root is never sent");
});

Deno.test("a client without a certificate is told that one is required", async () => {
  await using target = await ScanTarget.start();
  const { stderr } = await new Deno.Command(await findTool("openssl"), {
    args: ["s_client", "-connect", target.address, "-alpn", "h2", "-ign_eof"],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stderr);
  assert(text.includes("SSL alert number 116"), text);
});

Deno.test("TLS12_ENABLED adds TLS 1.2 and the suites of the certificate's kind, and no more", async () => {
  await using target = await ScanTarget.start({ TLS12_ENABLED: "true" });
  // Not sslscan: with TLS 1.2 it takes the refusal of a client without certificate for a refusal of the suite.
  const found = await testssl(target.address);
  assertEquals(["TLS1", "TLS1_1", "TLS1_2", "TLS1_3"].map((id) => found.get(id)), [
    "not offered",
    "not offered",
    "offered",
    "offered with final",
  ]);
  assertEquals(suitesOf(found), [...TLS13_SUITES, ...TLS12_SUITES_ECDSA].sort());
  // Which of the two depends on whether its second request or our alert comes first.
  const renegotiation = found.get("secure_client_renego") ?? "not tested";
  assert(
    ["not vulnerable", "client x509-based authentication prevents this from being tested"]
      .includes(renegotiation),
    renegotiation,
  );
  assertEquals(found.get("sessionresumption_ticket"), "not supported");
});

Deno.test("with a FIPS provider the groups are the approved ones, and the proxy says so", async () => {
  const { modulePath, configPath } = await testProvider();
  await using target = await ScanTarget.start({
    FIPS_MODULE_PATH: modulePath,
    FIPS_CONFIG_PATH: configPath,
  });
  const report = await sslscan(target.address);
  assertEquals([report.versions, report.suites], [["1.3"], TLS13_SUITES]);
  assertEquals(report.groups, ["0017", "0018"]);
  const log = target.proxy.lines.join("\n");
  assert(log.includes("fips: data plane only, provider OpenSSL FIPS Provider 3.0.8"), log);
  assertEquals(/validated|certified/i.test(log), false);
});
