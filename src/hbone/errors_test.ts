// The texts and flags of spec/config-and-observability §6.5 and §7.6.
import { assertEquals } from "@std/assert";
import { DeadlineError, NetError, type ProxyError } from "../base/errors.ts";
import { H2StreamError } from "../h2/errors.ts";
import { tunnelFailure } from "./client.ts";
import {
  ApplicationUnreachable,
  DrainError,
  flagOf,
  HandshakeFailed,
  Http2Failure,
  Http2HandshakeFailed,
  HttpStatusError,
  IdentityFailure,
  IoFailure,
  NetworkPolicyTimeout,
  PeerRevoked,
  PolicyChanged,
  TlsSetupFailure,
} from "./errors.ts";

const REFUSED = new NetError("ECONNREFUSED");
const RESET = new H2StreamError("", { code: "PROTOCOL_ERROR", origin: "received" });

Deno.test.each<{ error: ProxyError; text: string; flag: string }>([
  {
    error: new IoFailure(REFUSED),
    text: "io error: Connection refused (os error 111)",
    flag: "CONNECT",
  },
  {
    error: new NetworkPolicyTimeout(new DeadlineError()),
    text: "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: " +
      "deadline has elapsed",
    flag: "NETWORK_POLICY",
  },
  {
    error: new NetworkPolicyTimeout(new NetError("ETIMEDOUT")),
    text: "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: " +
      "Connection timed out (os error 110)",
    flag: "NETWORK_POLICY",
  },
  { error: new HttpStatusError(401), text: "http status: 401 Unauthorized", flag: "CONNECT" },
  {
    error: new ApplicationUnreachable(REFUSED),
    text: "connection failed: Connection refused (os error 111)",
    flag: "CONNECT",
  },
  { error: new DrainError(), text: "connection closed due to connection drain", flag: "-" },
  { error: new PolicyChanged(), text: "connection closed due to policy change", flag: "DENY" },
  {
    error: new PeerRevoked(),
    text: "connection closed: peer certificate revoked by CRL",
    flag: "CERT_REVOKED",
  },
  {
    error: new IdentityFailure(REFUSED),
    text: `identity error: ${REFUSED.message}`,
    flag: "IDENTITY_ERROR",
  },
  {
    error: new TlsSetupFailure(REFUSED),
    text: `tls error: ${REFUSED.message}`,
    flag: "TLS_FAILURE",
  },
  {
    error: new Http2Failure(RESET),
    text: "h2 failed: stream error received: unspecific protocol error detected",
    flag: "H2_HANDSHAKE_FAILURE",
  },
  {
    error: new Http2HandshakeFailed(RESET),
    text: "http2 handshake failed: stream error received: unspecific protocol error detected",
    flag: "H2_HANDSHAKE_FAILURE",
  },
  {
    error: new HandshakeFailed(REFUSED),
    text: "tls handshake error: Connection refused (os error 111)",
    flag: "CONNECT",
  },
  { error: REFUSED, text: "Connection refused (os error 111)", flag: "CONNECT" },
])("flagOf() is $flag for $text", ({ error, text, flag }) => {
  assertEquals([error.message, flagOf(error)], [text, flag]);
});

Deno.test("flagOf() of an ok end is -", () => {
  assertEquals(flagOf(null), "-");
});

Deno.test.each([
  { error: REFUSED, text: "io error: Connection refused (os error 111)" },
  { error: RESET, text: "h2 failed: stream error received: unspecific protocol error detected" },
  { error: new DrainError(), text: "connection closed due to connection drain" },
])("tunnelFailure() words $text", ({ error, text }) => {
  assertEquals(tunnelFailure(error).message, text);
});
