// The native network with TLS on loopback: OpenSSL of the system, or of OPENSSL_LIB_DIR.
import { type CryptoPolicy, cryptoPolicy } from "../../src/net/native/crypto_policy.ts";
import { findLibraries, type LibraryPaths } from "../../src/net/native/libraries.ts";
import { libcFolders } from "../../src/net/native/library_folders.ts";
import { Libc } from "../../src/net/native/libc.ts";
import { OpenSsl } from "../../src/net/native/openssl.ts";
import { TlsEngine, type TlsEngineOptions } from "../../src/net/native/tls_engine.ts";
import type { Channel } from "../../src/base/channel.ts";
import type { SecureChannel } from "../../src/net/network.ts";
import type { CertifiedKey } from "../../src/tls/certificate.ts";
import { NativeLoopback, type NativeLoopbackOptions } from "./native_sockets.ts";
import { fixedSource, promised } from "./real_sockets.ts";

/** The libraries that the tests run with. */
export function testLibraries(): LibraryPaths {
  using libc = Libc.open();
  return findLibraries({
    openSslLibDir: Deno.env.get("OPENSSL_LIB_DIR") ?? null,
    arch: Deno.build.arch,
    folders: libcFolders(libc),
  });
}

/** What a data plane without further settings agrees to. */
export function defaultPolicy(openssl: OpenSsl, tls12 = false): CryptoPolicy {
  return cryptoPolicy({
    tls12,
    pqc: false,
    fips: null,
    library: { number: openssl.number, version: openssl.text },
  });
}

export interface NativeTlsOptions
  extends
    Omit<NativeLoopbackOptions, "tls">,
    Pick<TlsEngineOptions, "handshakesMax" | "unpinnedContextsMax" | "verdicts"> {
  readonly policy?: Partial<CryptoPolicy>;
  readonly tls12?: boolean;
}

/** {@link NativeLoopback} with a TLS engine. */
export class NativeTls extends NativeLoopback {
  readonly engine: TlsEngine;
  readonly openssl: OpenSsl;

  constructor(options: NativeTlsOptions = {}) {
    const { policy, tls12, handshakesMax, unpinnedContextsMax, verdicts, ...rest } = options;
    const made: { engine?: TlsEngine; openssl?: OpenSsl } = {};
    super({
      ...rest,
      tls: ({ libc, loop, objects, onBug }) => {
        const openssl = OpenSsl.open(testLibraries(), objects);
        const engine = new TlsEngine({
          openssl,
          libc,
          loop,
          objects,
          policy: { ...defaultPolicy(openssl, tls12), ...policy },
          onBug,
          ...verdicts === undefined ? {} : { verdicts },
          ...handshakesMax === undefined ? {} : { handshakesMax },
          ...unpinnedContextsMax === undefined ? {} : { unpinnedContextsMax },
        });
        made.engine = engine;
        made.openssl = openssl;
        return {
          revocation: engine.revocation,
          client: (channel, wanted, done) => engine.client(channel, wanted, done),
          server: (channel, wanted, done) => engine.server(channel, wanted, done),
          close() {
            engine.close();
            openssl.close();
          },
        };
      },
    });
    this.engine = made.engine!;
    this.openssl = made.openssl!;
  }

  /** Both ends of a session inside two joined channels. */
  async secure(
    below: { readonly client: Channel; readonly server: Channel },
    certificates: { readonly client: CertifiedKey; readonly server: CertifiedKey },
  ): Promise<{ client: SecureChannel; server: SecureChannel }> {
    const [client, server] = await Promise.all([
      promised<SecureChannel>((done) =>
        this.network.secureClient(below.client, {
          certificate: certificates.client,
          expected: [certificates.server.identity],
          timeoutMs: 5000,
        }, done)
      ),
      promised<SecureChannel>((done) =>
        this.network.secureServer(below.server, {
          certificates: fixedSource(certificates.server),
          timeoutMs: 5000,
        }, done)
      ),
    ]);
    return { client, server };
  }
}
