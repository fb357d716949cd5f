// Opens everything that the native network stands on, in order; what stands in the way is one sentence.
import { AF_INET, SIGUSR1, SOCK_CLOEXEC, SOCK_STREAM } from "./constants.ts";
import { cryptoPolicy } from "./crypto_policy.ts";
import { neededAtStart } from "./errno.ts";
import { FipsProvider } from "./fips.ts";
import type { FipsSettings } from "./fips_config.ts";
import { Libc } from "./libc.ts";
import { checkLibraries, findLibraries } from "./libraries.ts";
import { libcFolders } from "./library_folders.ts";
import { CountedObjects } from "./live_objects.ts";
import { NativeLoop } from "./loop.ts";
import { NativeNetwork } from "./native_network.ts";
import { KINDS, OpenSsl } from "./openssl.ts";
import { SOCKET_KIND } from "./raw_socket.ts";
import { setMark } from "./socket_options.ts";
import { NativeStartError } from "./start_error.ts";
import { probeCalls } from "./start_probe.ts";
import { TlsEngine } from "./tls_engine.ts";

/** Plain values, so that they can be sent to the isolate that opens the runtime. */
export interface NativeRuntimeOptions {
  /** `OPENSSL_LIB_DIR`; null: the system's libraries. */
  readonly openSslLibDir: string | null;
  /** TLS 1.2 too. */
  readonly tls12: boolean;
  /** `COMPLIANCE_POLICY=pqc`. */
  readonly pqc: boolean;
  /** The FIPS provider to use; null: the library's own algorithms. */
  readonly fips: FipsSettings | null;
  /** SO_MARK of outgoing sockets; null for none. */
  readonly packetMark: number | null;
  /** Listeners carry the mark too. */
  readonly markListeners: boolean;
  readonly reusePort: boolean;
  /** Descriptors the process may have; null: the kernel is asked. */
  readonly descriptorsMax: number | null;
  /** Listening descriptors that whoever started the process opened (LISTEN_FDS). */
  readonly inheritedFds: readonly number[];
}

/** What the runtime tells its owner. */
export interface NativeRuntimeHooks {
  /** What a timer, task, callback or handler threw; what it belonged to was ended. */
  readonly onBug: (thrown: unknown) => void;
  /** A sentence for the operator. */
  readonly onWarning?: (text: string) => void;
  /** A connection was refused for want of descriptors. */
  readonly onRefused?: (connectionsMax: number) => void;
}

/** For log, `version` and admin dump. */
export interface NativeRuntimeInfo {
  /** Such as `OpenSSL 3.0.19 27 Jan 2026`. */
  readonly openssl: string;
  /** `fips: data plane only, provider NAME VERSION`; null without. */
  readonly fips: string | null;
  readonly policy: "default" | "pqc";
}

/** An open runtime. Belongs to the thread that opened it. */
export interface NativeRuntime {
  readonly libc: Libc;
  readonly objects: CountedObjects;
  readonly loop: NativeLoop;
  /** Certificates are pinned here. */
  readonly engine: TlsEngine;
  readonly network: NativeNetwork;
  readonly info: NativeRuntimeInfo;
  /**
   * Closes everything, outside of any turn, once channels, handshakes and pins are gone. Gives the native objects that
   * were left, by kind: none where nothing leaks. Under sockets or sessions that still live nothing is closed.
   */
  close(): Readonly<Record<string, number>>;
}

/**
 * Opens libc, OpenSSL, FIPS provider, loop, TLS engine and network. Needs unscoped ffi; afterwards it may be revoked.
 * @throws {NativeStartError} whose message is one sentence; nothing stays open then.
 */
export function openNativeRuntime(
  options: NativeRuntimeOptions,
  hooks: NativeRuntimeHooks,
): NativeRuntime {
  using opening = new DisposableStack();
  const libc = opening.use(Libc.open());
  probeCalls(libc);
  libc.ignoreSignal(SIGUSR1); // On it the runtime lets debuggers in, who ask for no password.
  const { soft } = libc.raiseDescriptorLimit();
  const descriptorsMax = options.descriptorsMax ?? soft;
  if (options.packetMark !== null) probeMark(libc, options.packetMark);
  const objects = new CountedObjects();
  const folders = libcFolders(libc);
  const { openSslLibDir } = options;
  const paths = findLibraries({ openSslLibDir, arch: Deno.build.arch, folders });
  const library = checkLibraries(paths);
  const openssl = opening.adopt(OpenSsl.open(paths, objects), (opened) => opened.close());
  const fips = options.fips === null ? null : opening.adopt(
    FipsProvider.load({ ...options.fips, libcrypto: paths.libcrypto, folders, objects }),
    (loaded) => loaded.close(),
  );
  if (fips !== null) openssl.enter(fips);
  const { tls12, pqc } = options;
  const policy = cryptoPolicy({ tls12, pqc, fips: fips?.state ?? null, library });
  const loop = opening.use(new NativeLoop({ libc, objects, onBug: hooks.onBug }));
  const engine = opening.adopt(
    new TlsEngine({ openssl, libc, loop, objects, policy, onBug: hooks.onBug }),
    (made) => made.close(),
  );
  const network = new NativeNetwork({
    libc,
    loop,
    objects,
    tls: engine,
    packetMark: options.packetMark,
    markListeners: options.markListeners,
    reusePort: options.reusePort,
    ...(descriptorsMax === Infinity ? {} : { descriptorsMax }),
    inherited: options.inheritedFds,
    ...hooks,
  });
  const opened = opening.move();
  return {
    libc,
    objects,
    loop,
    engine,
    network,
    info: {
      openssl: openssl.text,
      fips: fips?.state.text ?? null,
      policy: pqc ? "pqc" : "default",
    },
    close() {
      network.close();
      const isUsed = [SOCKET_KIND, KINDS.session, "watch"].some((kind) => objects.counts.has(kind));
      if (!isUsed) opened.dispose();
      return Object.fromEntries(objects.counts);
    },
  };
}

/** Without its mark every outgoing socket would fail, and each connection with it: said once, at start. */
function probeMark(libc: Libc, mark: number): void {
  const fd = neededAtStart("socket", libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const refused = setMark(libc, fd, mark);
  libc.close(fd);
  if (refused === null) return;
  throw new NativeStartError(
    `Cannot start the native network: PACKET_MARK=${mark} needs CAP_NET_ADMIN: ${refused.message}`,
    { cause: refused },
  );
}
