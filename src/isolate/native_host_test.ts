// Two data planes in a real worker on libc, OpenSSL and loopback sockets, as an application sees them.
import { assert, assertEquals } from "@std/assert";
import { CLIENT, identityOf, NotedEvents, SERVER } from "../../tests/support/data_plane_world.ts";
import { Program } from "../../tests/support/command_line.ts";
import { loopbackBlock } from "../../tests/support/loopback.ts";
import { EchoApp, echoes } from "../../tests/support/loopback_planes.ts";
import { meshFileText } from "../../tests/support/mesh_file.ts";
import { promised, until } from "../../tests/support/real_sockets.ts";
import { connectSocks5 } from "../../tests/support/socks5.ts";
import { StoppedThread } from "../../tests/support/stopped_thread.ts";
import { ProxyError } from "../base/errors.ts";
import { SystemRandom } from "../base/random.ts";
import { SystemClock } from "../base/system_clock.ts";
import { CertificateManager } from "../identity/certificate_manager.ts";
import { FakeAuthority } from "../identity/fake_authority.ts";
import { FakeCa } from "../identity/fake_ca.ts";
import type { NativeRuntimeOptions } from "../net/native/runtime.ts";
import type { LocalWorkloadName } from "../seam/workload.ts";
import { parseMeshFile } from "../state/mesh_file.ts";
import { MeshState } from "../state/mesh_state.ts";
import { StateRouter } from "../state/state_router.ts";
import { LogFilter } from "../telemetry/log_filter.ts";
import { TelemetryEvents } from "../telemetry/access_log.ts";
import { Logger } from "../telemetry/logger.ts";
import type { CertifiedKey } from "../tls/certificate.ts";
import { DataPlaneStartError } from "./errors.ts";
import { type HostedPlane, type NativeHost, startNativeHost } from "./host.ts";

const RUNTIME: NativeRuntimeOptions = {
  openSslLibDir: null,
  tls12: false,
  pqc: false,
  fips: null,
  packetMark: null,
  markListeners: false,
  reusePort: false,
  descriptorsMax: null,
  inheritedFds: [],
};

const INTERNAL_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008, 15080]);

interface Hosted {
  readonly plane: HostedPlane;
  readonly events: NotedEvents;
}

/** A client's and a server's plane in one worker, with an application behind the server's. */
class Planes implements AsyncDisposable {
  readonly clock = new SystemClock();
  readonly app = new EchoApp();
  readonly deaths: string[] = [];
  readonly lines: string[] = [];
  readonly #block = loopbackBlock();
  readonly clientIp = `${this.#block}.1`;
  readonly serverIp = `${this.#block}.2`;
  readonly router = new StateRouter({
    state: this.#state([]),
    settings: {
      network: "",
      hbonePort: 15008,
      nodeName: null,
      clusterDomain: "cluster.local",
      internalPorts: INTERNAL_PORTS,
    },
    clock: this.clock,
    log: () => {},
  });
  host!: NativeHost;
  certificates!: CertificateManager;
  client!: Hosted;
  server!: Hosted;

  static async start(): Promise<Planes> {
    const planes = new Planes();
    const ca = await FakeCa.create({ nowMs: Date.now() });
    planes.certificates = new CertificateManager({
      authority: new FakeAuthority(ca, planes),
      clock: planes.clock,
      random: new SystemRandom(),
      log: () => {},
    });
    planes.host = await startNativeHost({
      runtime: RUNTIME,
      log: (level, _scope, message, fields) =>
        planes.lines.push(`${level} ${message} ${fields?.["error"] ?? ""}`),
      onDeath: (reason) => planes.deaths.push(reason),
      clock: planes.clock,
      revokeFfi: false,
    });
    await planes.app.listen(planes.serverIp);
    planes.server = await planes.#open(SERVER, planes.serverIp, {
      inbound: { ip: planes.serverIp, port: 15008 },
    });
    planes.client = await planes.#open(CLIENT, planes.clientIp, {
      socks5: { ip: planes.clientIp, port: 15080 },
    });
    return planes;
  }

  #state(policies: readonly unknown[]): MeshState {
    const workloads = [{ ...CLIENT, ip: `${this.#block}.1` }, {
      ...SERVER,
      ip: `${this.#block}.2`,
    }];
    return new MeshState(parseMeshFile(meshFileText({ workloads, policies }), { source: "test" }));
  }

  pushPolicies(policies: readonly unknown[]): void {
    this.router.replace(this.#state(policies), { policies: true });
  }

  async #open(
    local: LocalWorkloadName,
    ip: string,
    listeners: Parameters<NativeHost["openPlane"]>[0]["listeners"],
  ): Promise<Hosted> {
    const events = new NotedEvents();
    const plane = await new Promise<HostedPlane>((resolve, reject) =>
      this.host.openPlane({
        router: this.router,
        certificates: this.certificates.source(identityOf(local)),
        events,
        local,
        listeners,
        settings: { internalPorts: INTERNAL_PORTS, bindIp: ip },
      }, (outcome) => outcome instanceof ProxyError ? reject(outcome) : resolve(outcome))
    );
    return { plane, events };
  }

  /** The next certificate, before its time. */
  renew(local: LocalWorkloadName): Promise<CertifiedKey> {
    this.certificates.forget(identityOf(local));
    const source = this.certificates.source(identityOf(local));
    return promised((done) => source.get(done));
  }

  connect(): Promise<Deno.TcpConn> {
    return connectSocks5(this.clientIp, { ip: this.serverIp, port: this.app.port });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const leaked = await this.host.close();
    await this.app.close();
    this.certificates.close();
    assertEquals([leaked, this.deaths, this.host.bugs, this.lines], [{}, [], 0, []]);
    assertEquals(this.clock.waiting, 0);
    const open = [this.client, this.server].map(({ events }) =>
      events.openedRecords.length - events.closedRecords.length
    );
    assertEquals(open, [0, 0]);
  }
}

Deno.test("bytes go through two planes of a real worker, and both report them", async () => {
  await using planes = await Planes.start();
  const connection = await planes.connect();
  await echoes(connection, 3_000_000);
  connection.close();
  const { client, server } = planes;
  await until(() => client.events.ends.length === 1 && server.events.ends.length === 1);
  assertEquals([client.events.ends, server.events.ends], [["-: ok"], ["-: ok"]]);
  for (const { events } of [client, server]) {
    const [record] = events.openedRecords;
    assertEquals([record!.bytesToServer, record!.bytesToClient], [3_000_000, 3_000_000]);
    assertEquals(record!.facts.sourceIdentity?.uri, identityOf(CLIENT).uri);
    assertEquals(record!.facts.destinationIdentity?.uri, identityOf(SERVER).uri);
  }
  assertEquals(
    client.events.openedRecords[0]!.facts.traceId,
    server.events.openedRecords[0]!.facts.traceId,
  );
});

Deno.test("the access log of a hosted plane is what the formatter makes of the same facts", async () => {
  await using planes = await Planes.start();
  const connection = await planes.connect();
  await echoes(connection, 10);
  connection.close();
  await until(() => planes.server.events.ends.length === 1);
  const messages: string[] = [];
  const fields: string[] = [];
  const telemetry = new TelemetryEvents(
    new Logger({
      filter: LogFilter.parse("info"),
      wallMs: () => 0,
      sink: (event) => {
        messages.push(`${event.message}`);
        fields.push(...Object.keys(event.fields).filter((key) => event.fields[key] !== undefined));
      },
    }),
  );
  const [{ record, end }] = planes.server.events.closedRecords as [
    NotedEvents["closedRecords"][number],
  ];
  telemetry.closed(record, end);
  assertEquals(messages, ["connection complete"]);
  assertEquals(fields, [
    ...["src.addr", "src.workload", "src.namespace", "src.identity", "src.cluster"],
    ...["dst.addr", "dst.hbone_addr", "dst.workload", "dst.namespace", "dst.identity"],
    ...["dst.cluster", "direction", "bytes_sent", "bytes_recv", "duration"],
  ]);
});

Deno.test("certificates rotate under traffic; connections live on, new ones come up", async () => {
  await using planes = await Planes.start();
  const before = await planes.connect();
  await echoes(before, 1000);
  for (let round = 0; round < 6; round++) {
    await planes.renew(CLIENT);
    await planes.renew(SERVER);
    const connection = await planes.connect();
    await echoes(connection, 1000);
    connection.close();
  }
  await echoes(before, 1000);
  before.close();
  await until(() => planes.client.events.ends.length === 7);
  assertEquals(planes.client.events.ends, Array(7).fill("-: ok"));
});

Deno.test("a change of policies ends live connections; the next one is refused", async () => {
  await using planes = await Planes.start();
  const connection = await planes.connect();
  await echoes(connection, 1000);
  planes.pushPolicies([{
    name: "nobody",
    namespace: "default",
    scope: "Namespace",
    action: "Allow",
    dryRun: false,
    rules: [],
  }]);
  assertEquals(await connection.read(new Uint8Array(1)), null);
  connection.close();
  await until(() => planes.server.events.ends.length === 1);
  assertEquals(planes.server.events.ends, ["DENY: connection closed due to policy change"]);
  const refused = await planes.connect();
  assertEquals(await refused.read(new Uint8Array(1)).catch(() => null), null);
  refused.close();
  await until(() => planes.client.events.ends.length === 2);
  assertEquals(planes.client.events.ends[1], "CONNECT: http status: 401 Unauthorized");
});

Deno.test("200 connections at once: none lost, and the worker sleeps afterwards", async () => {
  await using planes = await Planes.start();
  const all = await Promise.all(Array.from({ length: 200 }, () => planes.connect()));
  await Promise.all(all.map((connection) => echoes(connection, 1000)));
  for (const connection of all) connection.close();
  const { client, server } = planes;
  await until(() => client.events.ends.length === 200 && server.events.ends.length === 200);
  assertEquals(new Set([...client.events.ends, ...server.events.ends]), new Set(["-: ok"]));
  const stats = await new Promise<number>((resolve) =>
    client.plane.stats(({ connections }) => resolve(connections))
  );
  assertEquals(stats, 0);
});

Deno.test("drain() of a hosted plane lets its connection finish", async () => {
  await using planes = await Planes.start();
  const connection = await planes.connect();
  await echoes(connection, 1000);
  let isDrained = false;
  const drained = new Promise<void>((resolve) =>
    planes.client.plane.drain(30_000, () => {
      isDrained = true;
      resolve();
    })
  );
  await echoes(connection, 1000);
  assert(!isDrained);
  connection.close();
  await drained;
  assertEquals(planes.client.events.ends, ["-: ok"]);
});

Deno.test("a library that is not there is one sentence, and the worker is gone", async () => {
  const clock = new SystemClock();
  let message = "";
  try {
    await startNativeHost({
      runtime: { ...RUNTIME, openSslLibDir: "/nowhere" },
      log() {},
      onDeath() {},
      clock,
      revokeFfi: false,
    });
  } catch (error) {
    if (!(error instanceof DataPlaneStartError)) throw error;
    message = error.message;
  }
  assertEquals(message, "Cannot read the folder OPENSSL_LIB_DIR=/nowhere: it does not exist");
  assertEquals(clock.waiting, 0);
});

Deno.test("the host needs ffi and its own modules, and has given ffi up once it runs", async () => {
  const root = new URL("../../", import.meta.url);
  const program = `
    import { startNativeHost } from "${new URL("host.ts", import.meta.url)}";
    import { SystemClock } from "${new URL("../base/system_clock.ts", import.meta.url)}";
    const host = await startNativeHost({
      runtime: ${JSON.stringify(RUNTIME)},
      log: console.log,
      onDeath: console.log,
      clock: new SystemClock(),
    });
    const { state } = await Deno.permissions.query({ name: "ffi" });
    console.log(state !== "granted", JSON.stringify(await host.close()));
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--no-check", "--config"],
      new URL("deno.json", root).pathname,
      ...["--allow-ffi", `--allow-read=${new URL("src", root).pathname}`, "-"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stdout);
  assertEquals([code, said], [0, "true {}\n"], new TextDecoder().decode(stderr));
});

Deno.test("the data plane's isolate is allowed nothing by the time it says that it is open", async () => {
  const host = await startNativeHost({
    runtime: RUNTIME,
    log() {},
    onDeath() {},
    clock: new SystemClock(),
    workerUrl: new URL("../../tests/support/telling_worker.ts", import.meta.url),
    revokeFfi: false,
  });
  assertEquals(host.info.openssl, "granted: ");
  assertEquals(await host.close(), {});
});

/** The proxy of a mesh of its own on loopback, ready. */
async function startProgram(): Promise<Program> {
  const ip = `${loopbackBlock()}.1`;
  const { namespace, name, serviceAccount } = CLIENT;
  const program = new Program({
    flags: ["-A"],
    args: ["proxy"],
    env: {
      IO_PROVIDER: "native",
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `${namespace}/${name}/${serviceAccount}`,
      LOCAL_XDS: meshFileText({ workloads: [{ ...CLIENT, ip }] }),
      XDS_ADDRESS: "",
      FAKE_CA: "true",
      IPV6_ENABLED: "false",
      BIND_ADDRESS: ip,
    },
  });
  await program.printed("marking server ready", 20_000);
  return program;
}

Deno.test("a program whose data plane stands still says so and ends with exit code 1", async () => {
  await using program = await startProgram();
  using _stopped = new StoppedThread(program.pid, "worker-");
  assertEquals(await program.ended(15_000), 1);
  assertEquals(program.stderr, "Error: the data plane is gone: it was silent for 5 s\n");
});

Deno.test("a program whose data plane is native lets no debugger in on SIGUSR1", async () => {
  await using program = await startProgram();
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // The runtime installs its handler after 500 ms.
  program.signal("SIGUSR1");
  const status = Deno.readTextFileSync(`/proc/${program.pid}/status`);
  const ignored = BigInt(`0x${/^SigIgn:\s*(\w+)$/m.exec(status)![1]}`);
  assertEquals(ignored >> 9n & 1n, 1n);
  program.signal("SIGTERM");
  assertEquals(await program.ended(10_000), 0);
});
