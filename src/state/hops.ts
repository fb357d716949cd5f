// How a connection reaches one workload: the hop, or why there is none (spec/data-path §2.4, §2.5 L10).
import { formatAddress, isIpv6, type SocketAddress } from "../base/address.ts";
import type { Candidate, NamedHop, NextHop, RefusedHop } from "../seam/route.ts";
import { RouteError } from "../seam/router.ts";
import type { SpiffeId } from "../tls/spiffe_id.ts";
import { chooseIp } from "./endpoints.ts";
import type { Upstream } from "./gateway_reference.ts";
import type { MeshView } from "./mesh_view.ts";
import type { Workload } from "./resources.ts";

type Hop = Candidate["hop"];

/** Straight to the workload: through its own proxy where it has one (rows 2, 3, 8, 9). */
export function directHop(
  state: MeshView,
  hbonePort: number,
  upstream: Upstream,
  wantedIp: string,
): Hop {
  const { workload, port } = upstream;
  if (workload.protocol === "TCP") {
    return placed(upstream, wantedIp, null, (ip) => ({ protocol: "TCP", peer: { ip, port } }));
  }
  const expected = expectedOf(state, upstream);
  return placed(upstream, wantedIp, port, (ip) => ({
    protocol: "HBONE",
    peer: { ip, port: hbonePort },
    authority: ip === "" ? "" : formatAddress({ ip, port }),
    expected,
  }));
}

/** To a waypoint, always with HBONE, for what was dialled (rows 4 and 6). */
export function waypointHop(
  state: MeshView,
  waypoint: Upstream,
  wantedIp: string,
  dialled: SocketAddress,
): Hop {
  const expected = expectedOf(state, waypoint);
  const authority = formatAddress(dialled);
  return placed(waypoint, wantedIp, null, (ip) => ({
    protocol: "HBONE",
    peer: { ip, port: waypoint.port },
    authority,
    expected,
  }));
}

/** To a network gateway, for a service behind it (rows 7 and 10). */
export function gatewayHop(
  state: MeshView,
  gateway: Upstream,
  wantedIp: string,
  { authority, innerExpected }: {
    readonly authority: string;
    readonly innerExpected: readonly SpiffeId[];
  },
): Hop {
  const expected = expectedOf(state, gateway);
  return placed(gateway, wantedIp, null, (ip) => ({
    protocol: "DOUBLEHBONE",
    peer: { ip, port: gateway.port },
    authority,
    expected,
    innerExpected,
  }));
}

/** The names a peer may show: the service's, then its own. */
function expectedOf(state: MeshView, { known, workload }: Upstream): readonly SpiffeId[] {
  const { identity } = state.facts(workload);
  return known === null || known.subjectAltNames.length === 0
    ? [identity]
    : [...known.subjectAltNames, identity];
}

/** The hop at the workload's address; by its name where it has none; else a refusal (L10). */
function placed(
  { workload, known }: Upstream,
  wantedIp: string,
  authorityPort: number | null,
  at: (ip: string) => NextHop,
): Hop {
  const ip = chooseIp(workload, wantedIp, known?.service.ipFamilies ?? null);
  if (ip !== null) return at(ip);
  const { hostname, uid } = workload;
  if (hostname === "") return refusedHop(noDestination(workload));
  const named: NamedHop = {
    protocol: "NAMED",
    hostname,
    workloadUid: uid,
    family: isIpv6(wantedIp) ? 6 : 4,
    hop: at(""),
    authorityPort,
  };
  return named;
}

/** Drawn like any other, and then this error. */
export function refusedHop({ code, message }: RouteError): RefusedHop {
  return { protocol: "REFUSED", code, message };
}

export function noDestination({ name, uid, protocol }: Workload): RouteError {
  return new RouteError(
    "NO_VALID_DESTINATION",
    `no valid routing destination for workload: Workload{${name} with uid ${uid} (${protocol})}`,
  );
}
