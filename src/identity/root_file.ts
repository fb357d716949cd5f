// The file with the roots that a CA's own certificate needs, read anew for each connection and never believed to be worse than
// it was (spec/identity-and-inpod §6).
import { parseCertificate } from "../tls/certificate_der.ts";
import { DerError } from "../tls/der.ts";
import type { IdentityLog } from "./log.ts";
import { pemBlocks, PemError } from "./pem.ts";

/** Octets of a root file that are looked at; a distribution's list of roots has 220,000. */
export const ROOT_FILE_BYTES_MAX = 4 * 1024 * 1024;

/** Reads a file. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const SCOPE = "ztunnel::tls::control";

/**
 * A reader for a transport. Of its file it gives the certificates that can be read and silently skips the others: one broken
 * one would keep the runtime from trusting any. While the file is missing, empty or garbage, what it last held goes on, with
 * a warning for each read; where it never held anything, the reader's own answer or error is passed on. Other files are read
 * as they are.
 */
export class RootFile {
  readonly #path: string;
  readonly #readFile: ReadFile;
  readonly #log: IdentityLog;
  #lastGood: Uint8Array<ArrayBuffer> | null = null;

  constructor(
    path: string,
    options: { readonly readFile: ReadFile; readonly log: IdentityLog },
  ) {
    this.#path = path;
    this.#readFile = options.readFile;
    this.#log = options.log;
  }

  /** Bound: to be handed on. */
  readonly read: ReadFile = async (path) => {
    if (path !== this.#path) return await this.#readFile(path);
    let bytes: Uint8Array;
    try {
      bytes = await this.#readFile(path);
    } catch (error) {
      return this.#instead(error instanceof Error ? error.message : String(error)) ??
        rethrow(error);
    }
    const good = usableRoots(bytes);
    if (good === null) return this.#instead("it has no certificate that can be used") ?? bytes;
    return this.#lastGood = good;
  };

  #instead(why: string): Uint8Array<ArrayBuffer> | null {
    if (this.#lastGood === null) return null;
    this.#log("warn", SCOPE, "trust roots cannot be read; the last ones that could go on", {
      path: this.#path,
      error: why,
    });
    return this.#lastGood;
  }
}

/** Those certificates as PEM; null without any. */
function usableRoots(bytes: Uint8Array): Uint8Array<ArrayBuffer> | null {
  if (bytes.length > ROOT_FILE_BYTES_MAX) return null;
  const good = new TextDecoder().decode(bytes).match(CERTIFICATE)?.filter(isUsable) ?? [];
  return good.length === 0 ? null : new TextEncoder().encode(`${good.join("\n")}\n`);
}

function isUsable(pem: string): boolean {
  try {
    for (const { der } of pemBlocks(pem)) parseCertificate(der);
    return true;
  } catch (error) {
    if (error instanceof PemError || error instanceof DerError) return false;
    throw error;
  }
}

function rethrow(error: unknown): never {
  throw error;
}
