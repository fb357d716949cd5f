import { assertEquals, assertStringIncludes } from "@std/assert";
import { MeshMetrics } from "./mesh_metrics.ts";

const ADDRESS = "type.googleapis.com/istio.workload.Address";

Deno.test("the control plane's counters have the names, labels and units dashboards ask for", () => {
  const metrics = new MeshMetrics();
  assertEquals(metrics.render(), "");
  metrics.message(ADDRESS, 120);
  metrics.message(ADDRESS, 3);
  metrics.terminated("ConnectionError");
  const samples = metrics.render().split("\n").filter((line) => !line.startsWith("#"));
  assertEquals(samples, [
    'istio_xds_connection_terminations_total{reason="ConnectionError"} 1',
    `istio_xds_message_total{url="${ADDRESS}"} 2`,
    `istio_xds_message_bytes_total{url="${ADDRESS}"} 123`,
    "",
  ]);
  assertStringIncludes(metrics.render(), "# UNIT istio_xds_message_bytes bytes\n");
});

Deno.test("a name that was asked for is counted with all its labels; unset ones are unknown", () => {
  const metrics = new MeshMetrics();
  metrics.hostAsked({
    source_workload: "web",
    source_canonical_service: "web",
    source_canonical_revision: "",
    source_workload_namespace: "shop",
    source_principal: "spiffe://cluster.local/ns/shop/sa/web",
    source_app: "web",
    source_version: "v1",
    source_cluster: "Kubernetes",
    hostname: "ext.example",
  });
  assertEquals(
    metrics.render().split("\n")[2],
    'istio_on_demand_dns_total{source_workload="web",source_canonical_service="web",' +
      'source_canonical_revision="unknown",source_workload_namespace="shop",' +
      'source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="web",' +
      'source_version="v1",source_cluster="Kubernetes",hostname="ext.example"} 1',
  );
});

Deno.test("revocations are counted once each, by the side that we are", () => {
  const metrics = new MeshMetrics();
  metrics.revoked({ source: 0, destination: 0 });
  assertEquals(metrics.render(), "");
  metrics.revoked({ source: 0, destination: 2 });
  metrics.revoked({ source: 1, destination: 3 });
  metrics.listsFailed("CRL_MALFORMED");
  const samples = metrics.render().split("\n").filter((line) => !line.startsWith("#"));
  assertEquals(samples, [
    'istio_crl_policy_rejections_total{reporter="destination"} 3',
    'istio_crl_policy_rejections_total{reporter="source"} 1',
    'istio_crl_load_errors_total{reason="CRL_MALFORMED"} 1',
    "",
  ]);
});
