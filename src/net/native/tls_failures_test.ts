// The library's reasons in the words of the log, for either side of a handshake and for established sessions.
import { assertEquals } from "@std/assert";
import { NetError } from "../../base/errors.ts";
import type { OpenSslError } from "./openssl.ts";
import {
  channelFailure,
  clientHandshakeFailure,
  libraryFailure,
  serverCarrierFailure,
  serverHandshakeFailure,
  type SessionFailure,
} from "./tls_failures.ts";

const ssl = (reason: number, text = "words"): OpenSslError => ({ library: 20, reason, text });
const library = (...errors: OpenSslError[]): SessionFailure => ({ kind: "library", errors });

interface Row {
  readonly name: string;
  readonly failure: SessionFailure;
  readonly code: string;
  /** After `Custom { kind: InvalidData, error: `. */
  readonly server: string;
  readonly client: string;
}

Deno.test.each<Row>([
  {
    name: "a fatal alert",
    failure: library(ssl(1048)),
    code: "TLS_ALERT",
    server: "AlertReceived(UnknownCA)",
    client: "received fatal alert: UnknownCA",
  },
  {
    name: "an alert without a name",
    failure: library(ssl(1099)),
    code: "TLS_ALERT",
    server: "AlertReceived(Unknown(99))",
    client: "received fatal alert: Unknown(99)",
  },
  {
    name: "no common suite",
    failure: library(ssl(193)),
    code: "TLS_PROTOCOL",
    server: "PeerIncompatible(NoCipherSuitesInCommon)",
    client: "peer is incompatible: NoCipherSuitesInCommon",
  },
  {
    name: "an old version",
    failure: library(ssl(258)),
    code: "TLS_VERSION",
    server: "PeerIncompatible(SupportedVersionsExtensionRequired)",
    client: "peer is incompatible: SupportedVersionsExtensionRequired",
  },
  {
    name: "a certificate that the library cannot read",
    failure: library({ library: 13, reason: 1, text: "bad" }, ssl(1, "ASN1 lib")),
    code: "BAD_ENCODING",
    server: "InvalidCertificate(BadEncoding)",
    client: "invalid peer certificate: BadEncoding",
  },
  {
    name: "a reason without words of its own",
    failure: library({ library: 6, reason: 1, text: "inner" }, ssl(1, 'outer "x"')),
    code: "TLS_PROTOCOL",
    server: String.raw`General("outer \"x\"")`,
    client: 'outer "x"',
  },
  {
    name: "nothing said",
    failure: library(),
    code: "TLS_PROTOCOL",
    server: 'General("unknown failure")',
    client: "unknown failure",
  },
])("a handshake that failed by $name", ({ failure, code, server, client }) => {
  const atServer = serverHandshakeFailure(failure);
  assertEquals(
    [atServer.code, atServer.message],
    [code, `Custom { kind: InvalidData, error: ${server} }`],
  );
  const atClient = clientHandshakeFailure(failure);
  assertEquals([atClient.code, atClient.message], [code, client]);
});

Deno.test("an end in the handshake, by FIN or because the peer is gone when we write", () => {
  for (const failure of [{ kind: "eof" }, { kind: "errno", errno: 32 }] as const) {
    assertEquals(
      serverHandshakeFailure(failure).message,
      'Custom { kind: UnexpectedEof, error: "tls handshake eof" }',
    );
  }
  assertEquals(clientHandshakeFailure({ kind: "eof" }).message, "tls handshake eof");
});

Deno.test("a failure of the socket keeps its errno's name and words", () => {
  const failure = { kind: "errno", errno: 104 } as const;
  assertEquals(clientHandshakeFailure(failure).message, "Connection reset by peer (os error 104)");
  assertEquals(
    serverHandshakeFailure(failure).message,
    'Os { code: 104, kind: ConnectionReset, message: "Connection reset by peer" }',
  );
  assertEquals(channelFailure(failure).code, "ECONNRESET");
  assertEquals(
    serverCarrierFailure(new NetError("CANCEL", { message: "stream was reset" })).message,
    'Custom { kind: Other, error: "stream was reset" }',
  );
});

Deno.test("an established session without close_notify is UNEXPECTED_EOF, a flood is the peer's misbehaviour", () => {
  assertEquals(channelFailure({ kind: "eof" }).code, "UNEXPECTED_EOF");
  assertEquals(channelFailure({ kind: "flood" }).code, "TLS_PROTOCOL");
});

Deno.test("libraryFailure() finds what is no matter of TLS among the errors", () => {
  assertEquals(libraryFailure([ssl(294)]), { kind: "eof" });
  assertEquals(libraryFailure([{ library: 2, reason: 110, text: "" }]), {
    kind: "errno",
    errno: 110,
  });
  assertEquals(libraryFailure([ssl(1)]), library(ssl(1)));
});
