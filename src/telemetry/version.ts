// What we are and what we were built from: one line that support scripts look for, one object for dumps.
import manifest from "../../deno.json" with { type: "json" };

/** As `/config_dump` shows it (spec/config-and-observability §5.7). */
export interface BuildInfo {
  readonly version: string;
  readonly gitRevision: string;
  /** The name is fixed by the readers; ours holds the runtime's version. */
  readonly rustVersion: string;
  readonly buildProfile: string;
  readonly buildStatus: string;
  readonly istioVersion: string;
  readonly cryptoProvider: string;
}

/** Set by the packaging step, which rewrites this file; a checkout has no answer that costs no permission. */
const GIT_REVISION = "unknown";

/** What the data plane's TLS is made of, as readers know the names. */
const CRYPTO_PROVIDERS = { deno: "tls-deno-rustls", native: "tls-openssl" } as const;

/**
 * @param istioVersion Value of ISTIO_META_ISTIO_VERSION; undefined where unset.
 * @param network `IO_PROVIDER`.
 */
export function buildInfo(
  istioVersion: string | undefined,
  network: keyof typeof CRYPTO_PROVIDERS = "deno",
): BuildInfo {
  return {
    version: manifest.version,
    gitRevision: GIT_REVISION,
    rustVersion: `deno ${Deno.version.deno}`,
    buildProfile: "release",
    buildStatus: "Clean",
    istioVersion: istioVersion ?? "unknown",
    cryptoProvider: CRYPTO_PROVIDERS[network],
  };
}

/** The line of `ztunnel version` and of the log at start (spec §1). */
export function formatBuildInfo(info: BuildInfo): string {
  return `version.BuildInfo{Version:"${info.version}", GitRevision:"${info.gitRevision}", ` +
    `RustVersion:"${info.rustVersion}", BuildProfile:"${info.buildProfile}", ` +
    `BuildStatus:"${info.buildStatus}", IstioVersion:"${info.istioVersion}", ` +
    `CryptoProvider:"${info.cryptoProvider}"}`;
}
