// What a proxy makes of all that a control plane can say, response by response.
import { until } from "../support/real_sockets.ts";
import { PUSHES, responseOf } from "../support/xds_pushes.ts";
import { startSubject, type Subject } from "./original_subject.ts";
import { dump, metrics, pause } from "./original_told.ts";

const ENV = {
  POD_NAME: "zt-1",
  POD_NAMESPACE: "istio-system",
  INSTANCE_IP: "10.1.2.3",
  NODE_NAME: "node-1",
  NETWORK: "network1",
  CLUSTER_ID: "c1",
  XDS_HEADER_HEADER_FOO: "foo",
  XDS_HEADER_X_BAR: "Bar baz",
  ISTIO_META_FOO: "foo",
  ISTIO_META_ISTIO_VERSION: "1.30.0",
  ISTIO_METAJSON_LABELS: '{"app":"foo","n":1,"l":[true,null,1.5,-3,"x",{"a":{}}],"":0}',
  ISTIO_METAJSON_NUMBER: "12345678901234567890",
  ISTIO_METAJSON_NULL: "null",
  ISTIO_METAJSON_STRING: '"s"',
  ISTIO_METAJSON_NODE_NAME: "[]",
};

/** What it makes of {@link PUSHES}, and of a control plane that goes and comes. */
export async function watchState(binary: string | null): Promise<unknown> {
  await using subject: Subject = await startSubject({
    binary,
    env: { ...ENV, AUTH_TOKEN: "a-literal-token" },
    workload: "ns/p/default",
  });
  const { server } = subject;
  await server.settled();
  const steps = [];
  for (const push of PUSHES) {
    const before = server.heard.length;
    const response = responseOf(push);
    server.say(response);
    let replied = true;
    await until(() => server.heard.length > before, 3_000).catch(() => replied = false);
    const seen = await dump();
    const heard = server.heard.slice(before).map(({ kind, request }) => ({
      kind,
      typeUrl: request["typeUrl"],
      error: request["error"],
    }));
    const { workloads, services, policies, stagedServices } = seen;
    steps.push({ what: push.what, replied, heard, workloads, services, policies, stagedServices });
  }
  const seen = await dump();
  const streams = server.streams.map(({ headers }) => headers);
  const firsts = server.heard.filter(({ kind }) => kind === "first").map(({ request }) => request);
  const before = server.heard.length;
  server.drop();
  await until(
    () => server.heard.slice(before).filter(({ kind }) => kind === "first").length === 2,
    5_000,
  );
  await server.settled();
  const reconnect = server.heard.slice(before).map(({ kind, request }) => ({ kind, request }));
  const after = await dump();
  server.endStreams({ code: 0, message: "" });
  await pause(300);
  await server.settled();
  server.endStreams({ code: 2, message: "unknown it is" });
  await pause(300);
  await server.settled();
  server.endStreams({ code: 13, message: "internal it is" });
  await pause(300);
  await server.settled();
  server.refusal = { code: 16, message: "authentication failure" };
  server.drop();
  await until(() => server.refused > 2, 5_000);
  server.refusal = null;
  await pause(500);
  await server.settled();
  await server.stop();
  await pause(700);
  const restarted = server.restart();
  await restarted;
  await server.settled();
  return {
    steps,
    config: seen["config"],
    keys: Object.keys(seen).sort(),
    version: Object.keys(seen["version"] as Record<string, unknown>),
    streams,
    firsts,
    reconnect,
    after: {
      workloads: after["workloads"],
      services: after["services"],
      policies: after["policies"],
      stagedServices: after["stagedServices"],
    },
    metrics: (await metrics()).filter((line) => line.includes("istio_xds_")),
    violations: server.violations,
    lines: subject.lines.filter((line) => /xds|XDS|readiness|ready/.test(line)),
    all: subject.lines.length,
  };
}
