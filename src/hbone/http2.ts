// How this folder gets an HTTP/2 connection: a function among the parts, so that tests can bring their own.
import type { Channel } from "../base/channel.ts";
import type { H2Connection, H2ConnectionHandler } from "../h2/types.ts";

/**
 * Starts HTTP/2 with the settings of spec/data-path §1.2 over a channel, which it takes over. The handler
 * is called in later turns only.
 */
export type OpenHttp2 = (
  side: "client" | "server",
  channel: Channel,
  handler: H2ConnectionHandler,
) => H2Connection;
