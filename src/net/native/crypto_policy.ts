// Which versions, suites and key exchanges TLS sessions use (spec/identity-and-inpod §4.1). Pure.
import { NativeStartError } from "./start_error.ts";

/** TLS versions as the protocol writes them. */
export const TLS1_2 = 0x0303;
export const TLS1_3 = 0x0304;

/** `OpenSSL_version_num()` of the first release with X25519MLKEM768. */
export const OPENSSL_3_5 = 0x30500000;

/** The hybrid of X25519 and ML-KEM-768, as the library names it. */
export const HYBRID_GROUP = "X25519MLKEM768";

const TLS13_SUITES = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
const TLS12_SUITES = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:" +
  "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256";

/** What the operator's FIPS provider says about itself, and what it can do. */
export interface FipsState {
  /** For `version`, log and admin dump: `fips: data plane only, provider NAME VERSION`. */
  readonly text: string;
  /** As the provider gives it, such as `OpenSSL FIPS Provider`. */
  readonly name: string;
  /** As the provider gives it, such as `3.0.8`. */
  readonly version: string;
  /** Whether it offers {@link HYBRID_GROUP} as approved. */
  readonly hybrid: boolean;
}

/** What every context of a data plane is set to. */
export interface CryptoPolicy {
  /** Lowest and highest version, {@link TLS1_2} or {@link TLS1_3}. */
  readonly minVersion: number;
  readonly maxVersion: number;
  /** For `SSL_CTX_set_ciphersuites`, in the order offered. */
  readonly tls13Suites: string;
  /** For `SSL_CTX_set_cipher_list`; null: TLS 1.2 is off. */
  readonly tls12Suites: string | null;
  /** For `SSL_CTX_set1_groups_list`, in the order offered; a client sends a key share for the first only. */
  readonly groups: string;
  /** True: signatures of peers' chains have to be checked by the library, and so by its FIPS provider. */
  readonly verifyInLibrary: boolean;
  /** The provider in use; null: the library's own algorithms. */
  readonly fips: FipsState | null;
}

/** What the policy depends on. */
export interface CryptoPolicyOptions {
  /** `TLS12_ENABLED`: adds TLS 1.2. */
  readonly tls12: boolean;
  /** `COMPLIANCE_POLICY=pqc`: key exchange by {@link HYBRID_GROUP} and nothing else. */
  readonly pqc: boolean;
  /** The loaded FIPS provider; null: none asked for. */
  readonly fips: FipsState | null;
  /** The library's version, as a number (`OpenSSL_version_num()`) and as text (such as `3.0.19`). */
  readonly library: { readonly number: number; readonly version: string };
}

/**
 * The policy that these settings ask for.
 * @throws {NativeStartError} where library or provider cannot keep it.
 */
export function cryptoPolicy({ tls12, pqc, fips, library }: CryptoPolicyOptions): CryptoPolicy {
  if (pqc) demandHybrid({ fips, library });
  // TLS 1.2 has no hybrid key exchange: allowing it would let a peer step around the policy.
  const both = tls12 && !pqc;
  return {
    minVersion: both ? TLS1_2 : TLS1_3,
    maxVersion: TLS1_3,
    tls13Suites: TLS13_SUITES,
    tls12Suites: both ? TLS12_SUITES : null,
    groups: pqc ? HYBRID_GROUP : groupsOf({ fips, library }),
    verifyInLibrary: fips !== null,
    fips,
  };
}

function demandHybrid({ fips, library }: Pick<CryptoPolicyOptions, "fips" | "library">): void {
  if (library.number < OPENSSL_3_5) {
    throw new NativeStartError(
      `COMPLIANCE_POLICY=pqc needs OpenSSL 3.5 or newer: OpenSSL ${library.version} has no ${HYBRID_GROUP} key exchange`,
    );
  }
  if (fips !== null && !fips.hybrid) {
    throw new NativeStartError(
      `COMPLIANCE_POLICY=pqc cannot be kept with FIPS_MODULE_PATH: provider ${fips.name} ${fips.version} does not offer ${HYBRID_GROUP}`,
    );
  }
}

/** X25519 comes first, so the one key share is for it, as every ztunnel sends (spec/identity-and-inpod §4.1). */
function groupsOf({ fips, library }: Pick<CryptoPolicyOptions, "fips" | "library">): string {
  // X25519 is no approved curve (SP 800-186).
  if (fips !== null) return "P-256:P-384";
  const classic = "X25519:P-256:P-384";
  // `?`: a library built without ML-KEM goes on without it.
  return library.number < OPENSSL_3_5 ? classic : `${classic}:?${HYBRID_GROUP}`;
}
