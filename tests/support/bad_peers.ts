// Certificates that a server must refuse, with what it says of them, on every network; and peers that misbehave.
import net from "node:net";
import tls from "node:tls";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { OddCa, type OddOptions, SERVER_AUTH } from "./certificates.ts";
import { until } from "./real_sockets.ts";

/** The mesh's root of these tests. */
export const ROOT = await OddCa.root();
export const FOREIGN = await OddCa.root({ subject: "CN=foreign root" });

export interface BadPeer {
  readonly name: string;
  readonly leaf: () => Promise<CertifiedKey>;
  readonly code: string;
  /** In the accepting side's message. */
  readonly text: string;
  /** The alert that spec/identity-and-inpod §4.4 has for it, as every ztunnel spells it. */
  readonly alert: string;
}

const leaf = (options: OddOptions, ca = ROOT) => () => ca.leaf(options);

/** Clients that a server of {@link ROOT} and trust domain `cluster.local` refuses. */
export const BAD_CLIENTS: readonly BadPeer[] = [
  {
    name: "of another CA",
    leaf: leaf({}, FOREIGN),
    code: "UNKNOWN_ISSUER",
    text: "Custom { kind: InvalidData, error: InvalidCertificate(UnknownIssuer) }",
    alert: "UnknownCA",
  },
  {
    name: "of another CA with our root's name",
    leaf: leaf({}, await OddCa.root()),
    code: "BAD_SIGNATURE",
    text: "Custom { kind: InvalidData, error: InvalidCertificate(BadSignature) }",
    alert: "DecryptError",
  },
  {
    name: "without a SPIFFE name",
    leaf: leaf({ uris: ["https://cluster.local/ns/default/sa/client"] }),
    code: "WRONG_TRUST_DOMAIN",
    text: "peer did not present the expected trustdomain (cluster.local), got ",
    alert: "CertificateUnknown",
  },
  {
    name: "of another trust domain",
    leaf: leaf({ uris: ["spiffe://clusterset.local/ns/default/sa/my-app"] }),
    code: "WRONG_TRUST_DOMAIN",
    text: "(cluster.local), got spiffe://clusterset.local/ns/default/sa/my-app",
    alert: "CertificateUnknown",
  },
  {
    name: "that has expired",
    leaf: leaf({ notAfterMs: Date.now() - 60_000 }),
    code: "EXPIRED",
    text: "InvalidCertificate(ExpiredContext { time: UnixTime(",
    alert: "CertificateExpired",
  },
  {
    name: "made for servers only",
    leaf: leaf({ usages: [SERVER_AUTH] }),
    code: "WRONG_USAGE",
    text: "InvalidCertificate(InvalidPurpose)",
    alert: "UnsupportedCertificate",
  },
];

/** A client of the runtime that does what it is told; gone when disposed. */
export class RogueClient implements Disposable {
  readonly socket: tls.TLSSocket;
  error: Error | null = null;

  constructor(port: number, options: tls.ConnectionOptions) {
    this.socket = tls.connect({
      host: "127.0.0.1",
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
      ...options,
    });
    this.socket.on("error", (error) => this.error = error);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Application data of a session, but with nothing of its keys in it. */
export const FORGED_RECORD = Uint8Array.of(0x17, 0x03, 0x03, 0x00, 0x20, ...new Uint8Array(32));

/** Somebody on the path: passes bytes on, and can add its own. Closes nothing by itself. */
export class TamperingRelay implements Disposable {
  readonly #server: net.Server;
  readonly #ends: net.Socket[];

  /**
   * @param ends Filled with the two sockets of each connection: the dialer's, ours to the target.
   * @param pieceBytes What is passed on is cut into pieces of so many octets, each a packet of its own.
   */
  constructor(targetPort: number, ends: net.Socket[], pieceBytes = Infinity) {
    this.#ends = ends;
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      const far = net.connect({
        host: "127.0.0.1",
        port: targetPort,
        allowHalfOpen: true,
        noDelay: true,
      });
      for (const [from, to] of [[near, far], [far, near]] as const) {
        from.on("data", (chunk: Uint8Array) => {
          for (let at = 0; at < chunk.length; at += pieceBytes) {
            to.write(chunk.subarray(at, at + pieceBytes));
          }
        });
        from.on("error", () => {});
      }
      ends.push(near, far);
    }).listen(0, "127.0.0.1");
  }

  /** Where it listens, once it does. */
  async port(): Promise<number> {
    await until(() => this.#server.listening);
    return (this.#server.address() as net.AddressInfo).port;
  }

  [Symbol.dispose](): void {
    for (const end of this.#ends) end.destroy();
    this.#server.close();
  }
}
