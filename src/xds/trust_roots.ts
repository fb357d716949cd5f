// Whose signature the control plane's certificate needs: read again for each connection, so that a rotated root counts.
import { GrpcError } from "./grpc_error.ts";

export type TrustRoot =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "system" }
  | { readonly kind: "pem"; readonly pem: string };

/**
 * Where distributions keep their roots as one PEM file: Debian and Alpine, Fedora, SUSE, RHEL, the others. The first that
 * can be read is "the operating system's roots": the runtime's own list is switched off (`DENO_TLS_CA_STORE=`), because it
 * would be added to every connection, and what lists the system's costs a grant of all of `--allow-sys`.
 */
export const SYSTEM_ROOT_PATHS: readonly string[] = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

/** Octets of a root file; a distribution's list has 220,000. */
export const ROOT_BYTES_MAX = 4 * 1024 * 1024;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Reads a file; for tests to say what is there. */
export type ReadFile = (path: string) => Promise<Uint8Array>;

/**
 * The roots as PEM, one certificate each. None is not an error: a connection then trusts nobody.
 * @throws {GrpcError} GRPC_ROOTS if the file cannot be read.
 */
export async function readTrustRoots(
  root: TrustRoot,
  readFile: ReadFile = Deno.readFile,
): Promise<string[]> {
  switch (root.kind) {
    case "pem":
      return certificatesOf(root.pem);
    case "file":
      return certificatesOf(textOf(await readRoot(root.path, readFile), root.path));
    case "system":
      return certificatesOf(await readSystemRoots(readFile));
  }
}

async function readSystemRoots(readFile: ReadFile): Promise<string> {
  for (const path of SYSTEM_ROOT_PATHS) {
    let bytes: Uint8Array;
    try {
      bytes = await readFile(path);
    } catch {
      continue; // Another distribution's place.
    }
    return textOf(bytes, path);
  }
  throw unreadable(`no system roots at ${SYSTEM_ROOT_PATHS.join(", ")}`);
}

async function readRoot(path: string, readFile: ReadFile): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw unreadable(`cannot read trust roots "${path}": ${why}`, error);
  }
}

function textOf(bytes: Uint8Array, path: string): string {
  if (bytes.length > ROOT_BYTES_MAX) {
    throw unreadable(`trust roots "${path}": ${bytes.length} bytes, limit is ${ROOT_BYTES_MAX}`);
  }
  return new TextDecoder().decode(bytes);
}

function certificatesOf(text: string): string[] {
  return [...text.matchAll(CERTIFICATE)].map(([certificate]) => `${certificate}\n`);
}

function unreadable(message: string, cause?: unknown): GrpcError {
  return new GrpcError("GRPC_ROOTS", { code: "Unavailable", message }, { cause });
}
