// Every queue, map and wait of the data path, by name (design §5; spec/data-path §1.10).

export interface DataPlaneLimits {
  /** TCP connect, to the next hop or the application, in ms (spec/data-path §1.10). */
  readonly connectMsMax: number;
  /** TLS handshake, either side, in ms. */
  readonly handshakeMsMax: number;
  /** Waiting for our own certificate, in ms. */
  readonly certificateMsMax: number;
  /** Waiting for the Router: longer than its own 5 s for an unknown workload and a slow name server. */
  readonly routeMsMax: number;
  /** Answer to our CONNECT, in ms: the peer may wait 5 s for a workload and 10 s for TCP. */
  readonly answerMsMax: number;
  /** A request's wait for another request's connection attempt, in ms. */
  readonly poolWaitMsMax: number;
  /** Requests waiting for connection attempts, in one pool. */
  readonly poolWaitersMax: number;
  /** Idle and shareable connections of one pool, in least-recently-used order (spec/data-path P10). */
  readonly poolConnectionsMax: number;
  /** Streams of one pooled connection: `POOL_MAX_STREAMS_PER_CONNECTION` (P6). */
  readonly poolStreamsMax: number;
  /** A connection not used for so long leaves the pool: `POOL_UNUSED_RELEASE_TIMEOUT` (P9). */
  readonly poolIdleMs: number;
  /** First PING after the handshake, and the next after each PONG, in ms (W20). */
  readonly pingEveryMs: number;
  /** Silence after a PING that means dead, in ms (W20). */
  readonly pongMsMax: number;
  /** TLS handshakes in progress on 15008, in one data plane; beyond, the oldest is refused. */
  readonly handshakesMax: number;
  /** From the end of the handshake to the first whole request, and for each header block, in ms. */
  readonly headerBlockMsMax: number;
  /** After a GOAWAY for a fault, how long its peer may take to read it, in ms, before the transport is reset. */
  readonly goAwayMsMax: number;
  /**
   * After an orderly end, how long the last bytes of finished streams may take to arrive, in ms, before the
   * transport is reset and they are lost: as long as PING would take the peer for alive.
   */
  readonly lingerMsMax: number;
  /** Application connections in one data plane, all listeners together; beyond, new ones are refused. */
  readonly connectionsMax: number;
  /** HBONE connections accepted by one data plane and not yet over. */
  readonly inboundTunnelsMax: number;
  /** A whole SOCKS5 negotiation, name resolution included, in ms. */
  readonly socksMsMax: number;
  /** How long a refused application may take to notice, in ms, before RST. */
  readonly dismissMsMax: number;
  /** Connections waiting to be accepted, as asked of the kernel (spec/data-path §5.3). */
  readonly backlogMax: number;
}

/** The defaults of the product; tests make them smaller. */
export const DATA_PLANE_LIMITS: DataPlaneLimits = {
  connectMsMax: 10_000,
  handshakeMsMax: 10_000,
  certificateMsMax: 10_000,
  routeMsMax: 15_000,
  answerMsMax: 20_000,
  poolWaitMsMax: 30_000,
  poolWaitersMax: 10_000,
  poolConnectionsMax: 500,
  poolStreamsMax: 100,
  poolIdleMs: 300_000,
  pingEveryMs: 10_000,
  pongMsMax: 20_000,
  handshakesMax: 1_024,
  headerBlockMsMax: 10_000,
  goAwayMsMax: 1_000,
  lingerMsMax: 20_000,
  connectionsMax: 65_536,
  inboundTunnelsMax: 16_384,
  socksMsMax: 30_000,
  dismissMsMax: 1_000,
  backlogMax: 128,
};
