// The names of what is subscribed to (spec/xds-state-and-dns §1.4).

/** Workloads and services; subscribed to first. */
export const ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address";

/** Policies; subscribed to second. */
export const AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization";

/** The path of the gRPC call. */
export const DELTA_PATH =
  "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
