// A TLS 1.3 client that knows its own keys, so that a test can put any record into its session (RFC 8446 §5, §7).
import { createCipheriv, createHmac } from "node:crypto";
import type net from "node:net";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { TamperingRelay } from "./bad_peers.ts";
import { concat } from "./h2_raw.ts";
import { until } from "./real_sockets.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Content types (RFC 8446 §5.1). */
export const CONTENT = { changeCipherSpec: 20, alert: 21, handshake: 22, data: 23 } as const;
const KEY_UPDATE = 24;

/** A record as it is on the wire. */
export function wireRecord(type: number, body: Uint8Array, version = 0x0303): Bytes {
  const { length } = body;
  return concat(
    Uint8Array.of(type, version >> 8, version & 255, length >> 8, length & 255),
    body,
  );
}

/** HKDF-Expand-Label with an empty context, up to one block of SHA-384 (RFC 8446 §7.1). */
function expandLabel(secret: Uint8Array, label: string, bytes: number): Bytes {
  const name = new TextEncoder().encode(`tls13 ${label}`);
  const info = concat(
    Uint8Array.of(bytes >> 8, bytes & 255, name.length),
    name,
    Uint8Array.of(0, 1),
  );
  return new Uint8Array(createHmac("sha384", secret).update(info).digest()).slice(0, bytes);
}

/** Encrypts with a client's traffic secret under TLS_AES_256_GCM_SHA384, from its first record on. */
export class RecordForger {
  #secret: Uint8Array;
  #number = 0;

  constructor(secret: Uint8Array) {
    this.#secret = secret;
  }

  /** @param padding Zeros after the content type. */
  seal(type: number, body: ArrayLike<number>, padding = 0): Bytes {
    const nonce = expandLabel(this.#secret, "iv", 12);
    const view = new DataView(nonce.buffer);
    view.setUint32(8, view.getUint32(8) ^ this.#number++);
    const inner = concat(Uint8Array.from(body), Uint8Array.of(type), new Uint8Array(padding));
    const length = inner.length + 16;
    const header = Uint8Array.of(CONTENT.data, 3, 3, length >> 8, length & 255);
    const cipher = createCipheriv("aes-256-gcm", expandLabel(this.#secret, "key", 32), nonce);
    cipher.setAAD(header);
    return concat(header, cipher.update(inner), cipher.final(), cipher.getAuthTag());
  }

  /** A KeyUpdate in order, and the keys that follow it. */
  keyUpdate(answerRequested: boolean): Bytes {
    const record = this.seal(CONTENT.handshake, [KEY_UPDATE, 0, 0, 1, answerRequested ? 1 : 0]);
    this.#secret = expandLabel(this.#secret, "traffic upd", 48);
    this.#number = 0;
    return record;
  }
}

/** A session of `openssl s_client`, which itself never writes, with somebody on its path who has its keys. */
export class ForgedSession implements AsyncDisposable {
  readonly #relay: TamperingRelay;
  readonly #ends: net.Socket[];
  readonly #child: Deno.ChildProcess;
  readonly #folder: string;
  #forger: RecordForger | null = null;

  private constructor(relay: TamperingRelay, ends: net.Socket[], folder: string, port: number) {
    this.#relay = relay;
    this.#ends = ends;
    this.#folder = folder;
    this.#child = new Deno.Command("openssl", {
      args: [
        ...["s_client", "-quiet", "-connect", `127.0.0.1:${port}`, "-alpn", "h2"],
        ...["-cert", `${folder}/cert`, "-key", `${folder}/key`, "-CAfile", `${folder}/ca`],
        ...["-ciphersuites", "TLS_AES_256_GCM_SHA384", "-keylogfile", `${folder}/keys`],
      ],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Calls a TLS server on 127.0.0.1 as `certificate`; the handshake is the caller's to await. */
  static async start(port: number, certificate: CertifiedKey): Promise<ForgedSession> {
    const ends: net.Socket[] = [];
    const relay = new TamperingRelay(port, ends);
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(`${folder}/cert`, certificate.chainPem);
    await Deno.writeTextFile(`${folder}/key`, certificate.key.pem());
    await Deno.writeTextFile(`${folder}/ca`, certificate.rootsPem);
    return new ForgedSession(relay, ends, folder, await relay.port());
  }

  /** Once the handshake is over. */
  async forger(): Promise<RecordForger> {
    if (this.#forger !== null) return this.#forger;
    let secret: string | undefined;
    await until(() => {
      secret = this.#keyLog().match(/^CLIENT_TRAFFIC_SECRET_0 \S+ ([0-9a-f]+)\n/m)?.[1];
      return secret !== undefined;
    });
    this.#forger = new RecordForger(Uint8Array.fromHex(secret!));
    return this.#forger;
  }

  /** Sends octets to the server as the client's. */
  send(...records: readonly Uint8Array[]): void {
    this.#ends[1]!.write(concat(...records));
  }

  /** FIN towards the server. */
  end(): void {
    this.#ends[1]!.end();
  }

  #keyLog(): string {
    try {
      return Deno.readTextFileSync(`${this.#folder}/keys`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return "";
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#relay[Symbol.dispose]();
    await this.#child.stdin.close().catch(() => {});
    try {
      this.#child.kill("SIGTERM");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // TypeError: it has ended already.
    }
    await this.#child.status;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
