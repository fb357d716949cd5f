// The build info line that support scripts look for (spec/config-and-observability §1).
import { assertEquals, assertMatch } from "@std/assert";
import manifest from "../../deno.json" with { type: "json" };
import { buildInfo, formatBuildInfo } from "./version.ts";

Deno.test("formatBuildInfo() has the exact shape", () => {
  assertEquals(
    formatBuildInfo({
      version: "1",
      gitRevision: "2",
      rustVersion: "3",
      buildProfile: "release",
      buildStatus: "Clean",
      istioVersion: "4",
      cryptoProvider: "5",
    }),
    'version.BuildInfo{Version:"1", GitRevision:"2", RustVersion:"3", BuildProfile:"release", ' +
      'BuildStatus:"Clean", IstioVersion:"4", CryptoProvider:"5"}',
  );
});

Deno.test("buildInfo() takes the version from the manifest and Istio's from its argument", () => {
  const info = buildInfo("1.30.0");
  assertEquals([info.version, info.istioVersion], [manifest.version, "1.30.0"]);
  assertEquals(buildInfo(undefined).istioVersion, "unknown");
  assertEquals(info.cryptoProvider, "tls-deno-rustls");
  assertEquals(buildInfo(undefined, "native").cryptoProvider, "tls-openssl");
  assertMatch(info.rustVersion, /^deno \d+\.\d+\.\d+/);
});
