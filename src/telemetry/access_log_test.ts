// The access log to the byte: the examples of spec/config-and-observability §7.5 and the omission rules.
import { assertEquals } from "@std/assert";
import { parseSocketAddress, type SocketAddress } from "../base/address.ts";
import { ProxyError } from "../base/errors.ts";
import type {
  BaggageFacts,
  ConnectionEnd,
  ConnectionFacts,
  ConnectionRecord,
} from "../seam/events.ts";
import type { WorkloadFacts } from "../seam/workload.ts";
import { spiffeId } from "../tls/spiffe_id.ts";
import { TelemetryEvents } from "./access_log.ts";
import { LogFilter } from "./log_filter.ts";
import { formatJson, formatPlain } from "./log_format.ts";
import { Logger } from "./logger.ts";

class Failure extends ProxyError {
  readonly code = "FAILURE";
}

const TIME = "2026-08-20T15:38:42.182974Z";
const WALL_MS = Date.UTC(2026, 7, 20, 15, 38, 42) + 182.974;

function address(text: string): SocketAddress {
  return parseSocketAddress(text)!;
}

function workload(app: string, changes: Partial<WorkloadFacts> = {}): WorkloadFacts {
  return {
    uid: `Kubernetes//Pod/default/${app}-1`,
    name: `${app}-1`,
    namespace: "default",
    trustDomain: "cluster.local",
    serviceAccount: app,
    identity: identityOf(app),
    workloadType: "deployment",
    workloadName: app,
    canonicalName: app,
    canonicalRevision: "v1",
    clusterId: "Kubernetes",
    region: "",
    zone: "",
    ...changes,
  };
}

function identityOf(app: string) {
  return spiffeId({ trustDomain: "cluster.local", namespace: "default", serviceAccount: app });
}

const ECHO = {
  hostname: "echo.default.svc.cluster.local",
  name: "echo",
  namespace: "default",
};

/** shell-1 calls echo-1 through its service over HBONE, as seen on shell-1's node. */
function outboundHbone(changes: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    direction: "outbound",
    protocol: "HBONE",
    listener: "outbound",
    sourceAddress: address("10.0.0.1:46238"),
    destinationAddress: address("10.0.0.2:15008"),
    hboneAuthority: "10.0.0.2:8080",
    source: workload("shell"),
    sourceIdentity: identityOf("shell"),
    sourceBaggage: null,
    destination: workload("echo"),
    destinationIdentity: identityOf("echo"),
    destinationBaggage: null,
    service: ECHO,
    mutualTls: true,
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    ...changes,
  };
}

function recordOf(facts: ConnectionFacts, sent = 11, received = 22): ConnectionRecord {
  return { facts, bytesToServer: sent, bytesToClient: received };
}

const OK: ConnectionEnd = { durationMs: 13.9, flag: "-", error: null };

function setUp(options: { rustLog?: string; json?: boolean } = {}) {
  const lines: string[] = [];
  const format = options.json === true ? formatJson : formatPlain;
  const logger = new Logger({
    filter: LogFilter.parse(options.rustLog),
    sink: (event) => lines.push(format(event)),
    wallMs: () => WALL_MS,
  });
  return { events: new TelemetryEvents(logger), lines };
}

/** The part of a line after the message's TAB. */
function fieldsOf(lines: readonly string[]): string {
  assertEquals(lines.length, 1);
  return lines[0]!.split("\t")[4]!.trimEnd();
}

const SHELL_TO_ECHO = 'src.workload="shell-1" src.namespace="default" ' +
  'src.identity="spiffe://cluster.local/ns/default/sa/shell" src.cluster="Kubernetes" ' +
  "dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:8080 " +
  'dst.service="echo.default.svc.cluster.local" dst.workload="echo-1" dst.namespace="default" ' +
  'dst.identity="spiffe://cluster.local/ns/default/sa/echo" dst.cluster="Kubernetes"';

Deno.test("closed() writes an outbound HBONE connection, plain", () => {
  const { events, lines } = setUp();
  events.closed(recordOf(outboundHbone()), OK);
  assertEquals(lines, [
    `${TIME}\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:46238 ${SHELL_TO_ECHO} ` +
    'direction="outbound" bytes_sent=11 bytes_recv=22 duration="13ms"\n',
  ]);
});

Deno.test("closed() writes an outbound HBONE connection, JSON", () => {
  const { events, lines } = setUp({ json: true });
  events.closed(recordOf(outboundHbone()), OK);
  assertEquals(lines, [
    `{"level":"info","time":"${TIME}","scope":"access","message":"connection complete",` +
    '"src.addr":"10.0.0.1:46238","src.workload":"shell-1","src.namespace":"default",' +
    '"src.identity":"spiffe://cluster.local/ns/default/sa/shell","src.cluster":"Kubernetes",' +
    '"dst.addr":"10.0.0.2:15008","dst.hbone_addr":"10.0.0.2:8080",' +
    '"dst.service":"echo.default.svc.cluster.local","dst.workload":"echo-1",' +
    '"dst.namespace":"default","dst.identity":"spiffe://cluster.local/ns/default/sa/echo",' +
    '"dst.cluster":"Kubernetes","direction":"outbound","bytes_sent":11,"bytes_recv":22,' +
    '"duration":"13ms"}\n',
  ]);
});

Deno.test("closed() counts sent and received from the local workload's side", () => {
  const { events, lines } = setUp();
  const facts = outboundHbone({
    direction: "inbound",
    listener: "inbound",
    sourceAddress: address("10.0.0.1:40112"),
  });
  events.closed(recordOf(facts), { ...OK, durationMs: 12 });
  assertEquals(
    fieldsOf(lines),
    `src.addr=10.0.0.1:40112 ${SHELL_TO_ECHO} direction="inbound" ` +
      'bytes_sent=22 bytes_recv=11 duration="12ms"',
  );
});

Deno.test("closed() leaves out what is unknown: outbound to an address nobody knows", () => {
  const { events, lines } = setUp();
  const facts = outboundHbone({
    protocol: "TCP",
    sourceAddress: address("10.0.0.1:46240"),
    destinationAddress: address("93.184.216.34:443"),
    hboneAuthority: null,
    destination: null,
    destinationIdentity: null,
    service: null,
    mutualTls: false,
  });
  events.closed(recordOf(facts, 517, 4096), { ...OK, durationMs: 220 });
  assertEquals(
    fieldsOf(lines),
    'src.addr=10.0.0.1:46240 src.workload="shell-1" src.namespace="default" ' +
      'src.cluster="Kubernetes" dst.addr=93.184.216.34:443 direction="outbound" ' +
      'bytes_sent=517 bytes_recv=4096 duration="220ms"',
  );
});

Deno.test("closed() writes inbound plaintext from outside the mesh without identities", () => {
  const { events, lines } = setUp();
  const facts = outboundHbone({
    direction: "inbound",
    protocol: "TCP",
    listener: "inbound plaintext",
    sourceAddress: address("10.0.9.9:51000"),
    destinationAddress: address("10.0.0.2:8080"),
    hboneAuthority: null,
    source: null,
    sourceIdentity: null,
    mutualTls: false,
  });
  events.closed(recordOf(facts), { ...OK, durationMs: 3 });
  assertEquals(
    fieldsOf(lines),
    "src.addr=10.0.9.9:51000 dst.addr=10.0.0.2:8080 " +
      'dst.service="echo.default.svc.cluster.local" dst.workload="echo-1" ' +
      'dst.namespace="default" dst.cluster="Kubernetes" direction="inbound" ' +
      'bytes_sent=22 bytes_recv=11 duration="3ms"',
  );
});

Deno.test("closed() writes a refusal by policy at level error", () => {
  const { events, lines } = setUp({ rustLog: "error" });
  const error = new Failure(
    "connection closed due to policy rejection: allow policies exist, but none allowed",
  );
  const facts = outboundHbone({ direction: "inbound", sourceAddress: address("10.0.0.1:40114") });
  events.closed(recordOf(facts, 0, 0), { durationMs: 0.4, flag: "DENY", error });
  assertEquals(lines, [
    `${TIME}\terror\taccess\tconnection complete\tsrc.addr=10.0.0.1:40114 ${SHELL_TO_ECHO} ` +
    'direction="inbound" bytes_sent=0 bytes_recv=0 duration="0ms" ' +
    'error="connection closed due to policy rejection: allow policies exist, but none allowed"\n',
  ]);
});

Deno.test("closed() writes a suspected NetworkPolicy", () => {
  const { events, lines } = setUp();
  const error = new Failure(
    "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: " +
      "deadline has elapsed",
  );
  const facts = outboundHbone({ sourceAddress: address("10.0.0.1:58592") });
  events.closed(recordOf(facts, 0, 0), { durationMs: 10_002, flag: "NETWORK_POLICY", error });
  assertEquals(
    fieldsOf(lines),
    `src.addr=10.0.0.1:58592 ${SHELL_TO_ECHO} direction="outbound" bytes_sent=0 bytes_recv=0 ` +
      `duration="10002ms" error="${error.message}"`,
  );
});

Deno.test("failedEarly() writes four fields at level warn", () => {
  const { events, lines } = setUp();
  events.failedEarly({
    direction: "inbound",
    sourceAddress: address("10.0.9.9:36332"),
    destinationAddress: address("10.0.0.2:15008"),
    error: new Failure(
      "tls handshake error: Custom { kind: InvalidData, error: NoCertificatesPresented }",
    ),
  });
  assertEquals(lines, [
    `${TIME}\twarn\taccess\tconnection failed\tsrc.addr=10.0.9.9:36332 dst.addr=10.0.0.2:15008 ` +
    'direction="inbound" error="tls handshake error: Custom { kind: InvalidData, error: ' +
    'NoCertificatesPresented }"\n',
  ]);
});

Deno.test("failedEarly() escapes the quotes of an error", () => {
  const { events, lines } = setUp();
  events.failedEarly({
    direction: "inbound",
    sourceAddress: address("[fd00::9]:36332"),
    destinationAddress: address("[fd00::2]:15008"),
    error: new Failure(
      'tls handshake error: Custom { kind: UnexpectedEof, error: "tls handshake eof" }',
    ),
  });
  assertEquals(
    fieldsOf(lines),
    'src.addr=[fd00::9]:36332 dst.addr=[fd00::2]:15008 direction="inbound" ' +
      String
        .raw`error="tls handshake error: Custom { kind: UnexpectedEof, error: \"tls handshake eof\" }"`,
  );
});

Deno.test("opened() writes at level debug, without counts", () => {
  const { events, lines } = setUp({ rustLog: "access=debug" });
  events.opened(recordOf(outboundHbone()));
  assertEquals(lines, [
    `${TIME}\tdebug\taccess\tconnection opened\tsrc.addr=10.0.0.1:46238 ${SHELL_TO_ECHO} ` +
    'direction="outbound"\n',
  ]);
});

const BAGGAGE: BaggageFacts = {
  clusterId: "c2",
  namespace: "ns2",
  workloadType: "deployment",
  workloadName: "web",
  service: "web-svc",
  revision: "v3",
  region: null,
  zone: null,
};

Deno.test("The source is described by baggage where no workload was found", () => {
  const { events, lines } = setUp();
  const facts = outboundHbone({ direction: "inbound", source: null, sourceBaggage: BAGGAGE });
  events.closed(recordOf(facts), OK);
  assertEquals(
    fieldsOf(lines).startsWith(
      'src.addr=10.0.0.1:46238 src.workload="web-svc" src.namespace="ns2" ' +
        'src.identity="spiffe://cluster.local/ns/default/sa/shell" src.cluster="c2" dst.addr=',
    ),
    true,
    lines[0],
  );
});

Deno.test("A found source workload beats its baggage", () => {
  const { events, lines } = setUp();
  events.closed(recordOf(outboundHbone({ sourceBaggage: BAGGAGE })), OK);
  assertEquals(fieldsOf(lines).includes("web-svc"), false);
});

Deno.test("A workload without a pod name is named by its canonical service", () => {
  const { events, lines } = setUp();
  const destination = workload("echo", { name: "", namespace: "", clusterId: "" });
  events.closed(recordOf(outboundHbone({ destination })), OK);
  const fields = fieldsOf(lines);
  assertEquals(fields.includes('dst.workload="echo" dst.identity='), true, fields);
  assertEquals(fields.includes("dst.cluster"), false);
});

Deno.test("The destination of a double tunnel is described by the far side alone", () => {
  const { events, lines } = setUp();
  const facts = outboundHbone({
    protocol: "DOUBLEHBONE",
    destinationBaggage: { ...BAGGAGE, clusterId: null },
  });
  events.closed(recordOf(facts), OK);
  const fields = fieldsOf(lines);
  const expected = 'dst.workload="web" dst.namespace="ns2" dst.identity=';
  assertEquals(fields.includes(expected), true, fields);
  assertEquals(fields.includes("dst.cluster"), false);
});

Deno.test.each([
  { rustLog: "info", lines: 2 },
  { rustLog: "warn", lines: 1 },
  { rustLog: "error", lines: 0 },
  { rustLog: "access=off,debug", lines: 0 },
  { rustLog: "access=debug,error", lines: 3 },
])("Lines are not built where the filter drops them: $rustLog", ({ rustLog, lines: expected }) => {
  const { events, lines } = setUp({ rustLog });
  const facts = outboundHbone();
  const reads = { count: 0 };
  const watched: ConnectionFacts = {
    ...facts,
    get sourceAddress() {
      reads.count++;
      return facts.sourceAddress;
    },
  };
  events.opened(recordOf(watched));
  events.closed(recordOf(watched), OK);
  events.failedEarly({
    direction: "outbound",
    sourceAddress: facts.sourceAddress,
    destinationAddress: facts.destinationAddress,
    error: new Failure("no healthy upstream: 10.0.0.9:80"),
  });
  assertEquals(lines.length, expected);
  assertEquals(reads.count, Math.max(0, expected - 1));
});

Deno.test("log() passes operational lines on", () => {
  const { events, lines } = setUp();
  events.log("info", "ztunnel::state", "allow policy match", { policy: "default/allow-wp" });
  assertEquals(lines, [
    `${TIME}\tinfo\tstate\tallow policy match\tpolicy="default/allow-wp"\n`,
  ]);
});
