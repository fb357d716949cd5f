// The headers that say who is asking: a token, read again for each call, and the cluster it is from (spec/xds-state-and-dns §1.2).
import { GrpcError } from "./grpc_error.ts";
import type { GrpcHeaders } from "./transport.ts";
import type { ReadFile } from "./trust_roots.ts";

/** What proves who we are. Never in a log, an error or a dump. */
export type Token =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "text"; readonly token: string };

/** Octets of a token; a Kubernetes one has about 1,200, and headers beyond 8 KiB are refused by many servers. */
export const TOKEN_BYTES_MAX = 64 * 1024;

/**
 * Extra headers, then `authorization` and `clusterid`, which replace extra ones of their name. Without a token neither is
 * sent. The token goes byte for byte.
 * @throws {GrpcError} GRPC_TOKEN for a file that cannot be read or is empty, or octets that no header may have.
 */
export async function requestHeaders(
  about: {
    readonly token: Token | null;
    readonly clusterId: string;
    readonly headers: GrpcHeaders;
  },
  readFile: ReadFile = Deno.readFile,
): Promise<GrpcHeaders> {
  const { token, clusterId, headers } = about;
  if (token === null) return headers;
  const value = headerValue(await tokenBytes(token, readFile));
  return [
    ...headers.filter(([name]) => name !== "authorization" && name !== "clusterid"),
    ["authorization", `Bearer ${value}`],
    ["clusterid", clusterId],
  ];
}

async function tokenBytes(token: Token, readFile: ReadFile): Promise<Uint8Array> {
  if (token.kind === "text") return new TextEncoder().encode(token.token);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(token.path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw refused(`cannot read token file "${token.path}": ${why}`, error);
  }
  // The original's sentence.
  if (bytes.length === 0) throw refused("token file exists, but was empty");
  return bytes;
}

function headerValue(bytes: Uint8Array): string {
  if (bytes.length > TOKEN_BYTES_MAX) {
    throw refused(`token has ${bytes.length} bytes, limit is ${TOKEN_BYTES_MAX}`);
  }
  let value = "";
  for (const byte of bytes) {
    if (byte < 32 && byte !== 9 || byte === 127) {
      throw refused(`token cannot be a header: it has an octet ${byte}`);
    }
    value += String.fromCharCode(byte);
  }
  return value;
}

function refused(message: string, cause?: unknown): GrpcError {
  return new GrpcError("GRPC_TOKEN", { code: "Unauthenticated", message }, { cause });
}
