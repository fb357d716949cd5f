// Who tells the proxy about the mesh and who certifies it: addresses, trust roots, tokens (§2.2, first table).
import { isLoopback, parseIp } from "../base/address.ts";
import type { EnvReader } from "./env_reader.ts";
import { ConfigError, invalidConfiguration, type Notice, shownValue } from "./errors.ts";
import type { Header } from "./metadata.ts";

/** Where trust roots are unless told otherwise, relative to the working directory. */
export const ROOT_CERT_PATH = "./var/run/secrets/istio/root-cert.pem";

/** Where the token is unless told otherwise; without it there is no authentication. */
export const TOKEN_PATH = "./var/run/secrets/tokens/istio-token";

/** Whose signature a server's certificate needs. */
export type TrustRoot =
  /** PEM, read again for each connection. */
  | { readonly kind: "file"; readonly path: string }
  /** The operating system's. */
  | { readonly kind: "system" }
  /** Certificates as text. Never shown in dumps. */
  | { readonly kind: "pem"; readonly pem: string };

/** What proves who we are to a server. */
export type Token =
  /** Read again for each request. */
  | { readonly kind: "file"; readonly path: string }
  /** A secret: never in a log, an error or a dump. */
  | { readonly kind: "text"; readonly token: string };

/** How to reach a server of the control plane. */
export interface ControlServer {
  /** URI with its scheme: https, or http to a loopback address. */
  readonly address: string;
  /** Whose signature the server's certificate needs. */
  readonly root: TrustRoot;
  /** Another name the server's certificate may have; null: only the address's. */
  readonly altHostname: string | null;
  /** null: neither `authorization` nor `clusterid` is sent. */
  readonly token: Token | null;
  /** More gRPC metadata; values may be secrets. The token's headers go over them. */
  readonly headers: readonly Header[];
}

/** The certificate authority. */
export type CaConfig = ControlServer;

/** The xDS server, and how the proxy introduces itself there (spec/xds-state-and-dns §1.1, §1.3). */
export interface XdsConfig extends ControlServer {
  /** `XDS_ON_DEMAND`: addresses are asked for one by one. */
  readonly onDemand: boolean;
  /** Who we are; "" where it was not said. */
  readonly node: {
    readonly instanceIp: string;
    readonly podName: string;
    readonly podNamespace: string;
    readonly nodeName: string;
  };
  /** Proxy metadata, over what `node` gives. */
  readonly metadata: ReadonlyMap<string, string>;
  /** `ISTIO_METAJSON_*`, parsed, over everything else. */
  readonly jsonMetadata: ReadonlyMap<string, unknown>;
}

/** The variables of one server. */
interface ServerNames {
  readonly address: "XDS_ADDRESS" | "CA_ADDRESS";
  readonly root: "XDS_ROOT_CA" | "CA_ROOT_CA";
  readonly altHostname: "ALT_XDS_HOSTNAME" | "ALT_CA_HOSTNAME";
  /** Completes a sentence about what to do without this server. */
  readonly without: string;
}

const XDS: ServerNames = {
  address: "XDS_ADDRESS",
  root: "XDS_ROOT_CA",
  altHostname: "ALT_XDS_HOSTNAME",
  without: "set XDS_ADDRESS= (empty) to run without a control plane",
};

const CA: ServerNames = {
  address: "CA_ADDRESS",
  root: "CA_ROOT_CA",
  altHostname: "ALT_CA_HOSTNAME",
  without: "set FAKE_CA=true to run without a CA",
};

interface ServerOptions {
  readonly exists: (path: string) => boolean;
  readonly token: Token | null;
  readonly headers: readonly Header[];
}

/**
 * The xDS server; null: none is asked for, by an empty address.
 * @param options.discoveryAddress ProxyConfig's, below the variable.
 * @throws {ConfigError}
 */
export function readXds(
  read: EnvReader,
  options: ServerOptions & Omit<XdsConfig, keyof ControlServer> & {
    readonly discoveryAddress: string | null;
  },
): XdsConfig | null {
  const { discoveryAddress, onDemand, node, metadata, jsonMetadata } = options;
  const written = read.text(XDS.address) ?? discoveryAddress ?? defaultAddress(read);
  const server = readServer(read, XDS, written, options);
  return server === null ? null : { ...server, onDemand, node, metadata, jsonMetadata };
}

/**
 * The CA. ProxyConfig has no say in it.
 * @throws {ConfigError} if there is none: without certificates nothing works.
 */
export function readCa(read: EnvReader, options: ServerOptions): CaConfig {
  const server = readServer(read, CA, read.text(CA.address) ?? defaultAddress(read), options);
  if (server !== null) return server;
  throw invalidConfiguration(
    "CA_ADDRESS is empty and FAKE_CA is not true: nobody would issue certificates",
  );
}

/** `AUTH_TOKEN`; null: no authentication. */
export function readToken(
  read: EnvReader,
  exists: (path: string) => boolean,
  notices: Notice[],
): Token | null {
  const value = read.text("AUTH_TOKEN");
  if (value === null) return exists(TOKEN_PATH) ? { kind: "file", path: TOKEN_PATH } : null;
  if (exists(value)) return { kind: "file", path: value };
  const token = withoutEndOfLine(value);
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw invalidConfiguration(
      "AUTH_TOKEN names no file and is no token: it has characters that a header cannot have",
    );
  }
  if (/^\.{0,2}\//.test(token)) {
    const text = "AUTH_TOKEN looks like a path, but there is no such file: it is sent as the token";
    notices.push({ level: "warn", text });
  }
  return { kind: "text", token };
}

/** A token that came out of a file by a shell may have one end of line, which no header can have. */
function withoutEndOfLine(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function defaultAddress(read: EnvReader): string {
  return read.text("KUBERNETES_SERVICE_HOST") === null
    ? "https://localhost:15012"
    : "https://istiod.istio-system.svc:15012";
}

function readServer(
  read: EnvReader,
  names: ServerNames,
  written: string,
  { exists, token, headers }: ServerOptions,
): ControlServer | null {
  const altHostname = read.text(names.altHostname);
  const root = read.text(names.root);
  if (written === "") return null;
  const address = checkedUri(names.address, written);
  return {
    address,
    root: readRoot(names, root, { exists, isNeeded: !isPlaintext(address) }),
    altHostname,
    token,
    headers,
  };
}

/** The address with its scheme, which is https unless written. */
function checkedUri(name: string, written: string): string {
  const uri = /^[a-z][a-z0-9+.-]*:\/\//i.test(written) ? written : `https://${written}`;
  const authority = uri.slice(uri.indexOf("://") + 3).split(/[/?#]/, 1)[0]!;
  if (authority.includes("@")) {
    throw new ConfigError(`invalid uri: ${name} names a user, which is not sent`); // Nor shown: there may be a password.
  }
  // What RFC 3986 §2 allows: the runtime's parser would drop or repair the rest.
  if (!/^[\w\-.~:/?#[\]@!$&'()*+,;=%]+$/.test(uri) || !URL.canParse(uri)) {
    throw new ConfigError(`invalid uri: ${shownValue(uri)}`);
  }
  const { protocol, hostname } = new URL(uri);
  if (protocol === "https:") return uri;
  const ip = parseIp(hostname.replace(/^\[|\]$/g, ""));
  if (protocol === "http:" && ip !== null && isLoopback(ip)) return uri;
  throw invalidConfiguration(
    `${name} is ${shownValue(uri)}: the scheme must be https, or http to a loopback IP address`,
  );
}

function isPlaintext(uri: string): boolean {
  return new URL(uri).protocol === "http:";
}

/**
 * A path that exists, `SYSTEM`, or PEM text. The original takes whatever is left as PEM without certificates and then
 * trusts nobody; here it is an error, unless the connection has no TLS.
 */
function readRoot(
  names: ServerNames,
  value: string | null,
  { exists, isNeeded }: { readonly exists: (path: string) => boolean; readonly isNeeded: boolean },
): TrustRoot {
  const path = value ?? ROOT_CERT_PATH;
  if (path.includes("-----BEGIN CERTIFICATE-----")) return { kind: "pem", pem: path };
  if (exists(path)) return { kind: "file", path };
  if (path === "SYSTEM") return { kind: "system" };
  if (!isNeeded) return { kind: "file", path };
  if (value === null) {
    throw invalidConfiguration(
      `${names.root} is not set and ${path} does not exist: nothing would be trusted; ${names.without}`,
    );
  }
  throw invalidConfiguration(
    `${names.root} names no file, is not SYSTEM and has no PEM certificate: nothing would be trusted`,
  );
}
