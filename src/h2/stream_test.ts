// An HTTP/2 stream is a channel like any other: the rules of base/channel.ts, over both roles.
import { channelContract, type ChannelPair } from "../../tests/support/channel_contract.ts";
import { CONNECT, h2Pair, OK, type PairOptions } from "../../tests/support/h2_pair.ts";
import { assertEquals } from "@std/assert";

/** The two ends of a tunnel; `a` is the side given. */
function streamPair(aSide: "client" | "server", options: PairOptions = {}): ChannelPair {
  const pair = h2Pair(options);
  pair.clientLog.attaches = false;
  pair.serverLog.attaches = false;
  pair.serverLog.onAccept = ({ stream }) => stream.respond(OK, { endStream: false });
  const client = pair.client.open(CONNECT, pair.clientLog);
  pair.run();
  const server = pair.serverLog.streams[0]!.stream;
  return {
    a: aSide === "client" ? client : server,
    b: aSide === "client" ? server : client,
    drive: () => pair.run(),
    settle: () => pair.run(),
    dispose() {
      pair.client.abort(null);
      pair.server.abort(null);
      pair.run();
      assertEquals(pair.pool.lent, 0);
    },
  };
}

const EXCEPT = [
  // RST_STREAM(CANCEL) is the end of the data, not an error (spec/data-path W12).
  "reset() is closed at once, tells its own reason later and the peer an error",
  "reset(null) closes with null here and an error at the peer",
] as const;

channelContract("Http2Stream of a client", () => streamPair("client"), { except: EXCEPT });
channelContract("Http2Stream of a server", () => streamPair("server"), { except: EXCEPT });
channelContract(
  "Http2Stream with small windows on a slow transport, in pieces",
  () =>
    streamPair("client", {
      clientLimits: { streamWindowBytes: 1_000, connectionWindowBytes: 65_535 },
      serverLimits: { streamWindowBytes: 1_000, connectionWindowBytes: 65_535 },
      highWaterBytes: 300,
      pieceBytes: 777,
      keepsBlocks: true,
    }),
  { except: EXCEPT },
);
