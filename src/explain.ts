// GET /debug/route: what would happen to a connection, and why (ours). Answers from the code that decides about real ones.
import { isIpv6, parseIp, parseSocketAddress, type SocketAddress } from "./base/address.ts";
import { ProxyError } from "./base/errors.ts";
import type { HttpHandler } from "./admin/http_server.ts";
import { textResponse } from "./admin/responses.ts";
import { parseAuthority } from "./hbone/authority.ts";
import type { InboundQuestion, OutboundQuestion } from "./seam/router.ts";
import type { LocalWorkloadName } from "./seam/workload.ts";
import type { Explained, StateRouter } from "./state/state_router.ts";

/** Questions that are being answered; each may wait for a workload, a name or the control plane. */
export const EXPLANATIONS_MAX = 64;

const USAGE =
  `usage: GET /debug/route?to=<IP:port>                  (a connection of the proxy's workload)
usage: GET /debug/route?authority=<target>&peer=<IP>  (a CONNECT from that peer)

from=<namespace/name/serviceaccount>  another workload than the first that this process serves
ip=<IP>                               another address of it than its first
`;

interface ExplainOptions {
  readonly router: StateRouter;
  /** Those that this process serves; the first one is meant where nobody is named. */
  readonly locals: readonly LocalWorkloadName[];
  readonly nodeName: string | null;
}

/** Serves explanations as JSON. */
export function explainHandler(options: ExplainOptions): HttpHandler {
  let asked = 0;
  return async ({ query }) => {
    const question = parseQuestion(new URLSearchParams(query), options);
    if (question === null) return textResponse(400, USAGE);
    if (asked >= EXPLANATIONS_MAX) return textResponse(503, "too many questions at once\n");
    asked++;
    try {
      const { outcome, trace } = await answer(question, options.router);
      const shown = outcome instanceof ProxyError
        ? { error: { code: outcome.code, message: outcome.message } }
        : { route: outcome };
      const text = JSON.stringify({ question: question.about, ...shown, trace }, null, 2);
      return textResponse(200, `${text}\n`, "application/json");
    } finally {
      asked--;
    }
  };
}

type Question =
  | { readonly direction: "outbound"; readonly about: OutboundQuestion }
  | { readonly direction: "inbound"; readonly about: InboundQuestion };

function answer(question: Question, router: StateRouter): Promise<Explained<unknown>> {
  return new Promise((resolve, reject) => {
    const done = (outcome: Explained<unknown> | ProxyError) =>
      outcome instanceof ProxyError ? reject(outcome) : resolve(outcome);
    if (question.direction === "outbound") router.explainOutbound(question.about, done);
    else router.explainInbound(question.about, done);
  });
}

function parseQuestion(query: URLSearchParams, options: ExplainOptions): Question | null {
  const local = parseLocal(query.get("from"), options.locals);
  if (local === null) return null;
  const record = options.router.state.localWorkload(local, options.nodeName);
  const ip = parseIp(query.get("ip") ?? record?.ips[0] ?? "127.0.0.1");
  if (ip === null) return null;
  const to = query.get("to");
  if (to !== null) {
    const destination: SocketAddress | null = parseSocketAddress(to);
    if (destination === null) return null;
    const source = { ip, port: 0 };
    return { direction: "outbound", about: { local, source, destination } };
  }
  const authority = parseAuthority(query.get("authority") ?? "");
  const peerIp = parseIp(query.get("peer") ?? (isIpv6(ip) ? "::1" : "127.0.0.1"));
  if (authority === null || peerIp === null) return null;
  return {
    direction: "inbound",
    about: { local, localIp: ip, peerIp, authority, forwardedHost: null, fromGateway: false },
  };
}

/** The third part may have slashes, as in `PROXY_WORKLOAD_INFO`. */
function parseLocal(
  text: string | null,
  locals: readonly LocalWorkloadName[],
): LocalWorkloadName | null {
  if (text === null) return locals[0] ?? null;
  const parts = /^([^/]*)\/([^/]*)\/(.*)$/s.exec(text);
  if (parts === null) return null;
  return { namespace: parts[1]!, name: parts[2]!, serviceAccount: parts[3]! };
}
