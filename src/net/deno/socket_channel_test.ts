// The rules of Channel on real sockets: plain, TLS from either side, TLS over TLS.
import { channelContract, type ChannelPair } from "../../../tests/support/channel_contract.ts";
import {
  fixedSource,
  pass,
  promised,
  RealNetwork,
  twoCertificates,
  until,
} from "../../../tests/support/real_sockets.ts";
import type { Channel } from "../../base/channel.ts";
import type { SecureChannel } from "../network.ts";

const CERTIFICATES = await twoCertificates();

function pairOf(real: RealNetwork, a: Channel, b: Channel): ChannelPair {
  return {
    a,
    b,
    drive: (condition) => until(condition),
    settle: () => pass(20),
    dispose: () => real[Symbol.asyncDispose](),
  };
}

channelContract("SocketChannel over TCP", async () => {
  const real = new RealNetwork();
  const { client, server } = await real.plainPair();
  return pairOf(real, client, server);
});

channelContract("SocketChannel over TLS, dialed to accepted,", async () => {
  const real = new RealNetwork();
  const { client, server } = await real.securePair(CERTIFICATES);
  return pairOf(real, client, server);
});

channelContract("SocketChannel over TLS, accepted to dialed,", async () => {
  const real = new RealNetwork();
  const { client, server } = await real.securePair(CERTIFICATES);
  return pairOf(real, server, client);
});

channelContract("SocketChannel over TLS inside TLS", async () => {
  const real = new RealNetwork();
  const outer = await real.securePair(CERTIFICATES);
  const [client, server] = await Promise.all([
    promised<SecureChannel>((done) =>
      real.network.secureClient(outer.client, {
        certificate: CERTIFICATES.client,
        expected: [CERTIFICATES.server.identity],
        timeoutMs: 5000,
      }, done)
    ),
    promised<SecureChannel>((done) =>
      real.network.secureServer(outer.server, {
        certificates: fixedSource(CERTIFICATES.server),
        timeoutMs: 5000,
      }, done)
    ),
  ]);
  return pairOf(real, client, server);
});
