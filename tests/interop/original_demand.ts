// On demand: what is asked for, and when.
import type { Fields } from "../support/protobuf.ts";
import { resource, type XdsResource } from "../support/xds_resources.ts";
import { XDS_PROTOBUF } from "../support/xds_schema.ts";
import { describeHeard } from "../support/xds_server.ts";
import { dial, Peers, quiet } from "./original_peers.ts";
import { ROUTES } from "./original_routes.ts";
import { startSubject } from "./original_subject.ts";
import { dump, pause } from "./original_told.ts";

export async function watchDemand(binary: string | null): Promise<unknown> {
  await using peers = await Peers.open();
  await peers.app("10.5.0.201", 80);
  await peers.app("10.5.0.3", 80);
  await peers.app("10.5.0.3", 1234);
  await peers.app("10.5.0.3", 8080);
  await using subject = await startSubject({
    binary,
    env: { NETWORK: "network1", NODE_NAME: "n1", XDS_ON_DEMAND: "true" },
    workload: "ns/client/client",
    prepare: (server) => {
      server.push({
        set: (ROUTES.set ?? []).map(([name, fields]) => served(name, fields as Fields)),
      });
      server.hold("Address");
    },
  });
  const { server } = subject;
  const readyWithoutAddresses = server.said.length;
  server.release("Address");
  const notes: unknown[] = [];
  const describe = () => server.heard.map(describeHeard);
  const step = async (what: string, act: () => Promise<unknown>) => {
    const [heard, lines] = [server.heard.length, subject.lines.length];
    const result = await act();
    await quiet(() => server.heard.length + subject.lines.length, heard + lines + 1);
    const access = subject.lines.slice(lines).filter((line) =>
      /"scope":"access"|demand/.test(line)
    );
    notes.push({
      what,
      result,
      heard: describe().slice(heard),
      access: access.map((line) => JSON.parse(line)),
    });
  };
  await step("dump at first", async () => (await dump())["workloads"]);
  const soon = (target: string, port: number) =>
    Promise.race([dial(target, port), pause(2_500).then(() => "still waiting")]);
  await step("unknown", () => soon("10.5.0.201", 80));
  await step("unknown again", () => soon("10.5.0.201", 80));
  await step("a service by its VIP", () => soon("10.5.10.4", 80));
  await step("again", () => soon("10.5.10.4", 80));
  await step("a workload", () => soon("10.5.0.3", 80));
  await step("again", () => soon("10.5.0.3", 80));
  await step("service waypoint by host name", () => soon("10.5.10.12", 80));
  await step("again", () => soon("10.5.10.12", 80));
  await step("IPv6", () => soon("fd05::77", 80));
  const leaf = await subject.ca.writeLeaf(subject.folder, {
    namespace: "ns",
    serviceAccount: "two",
  });
  await step(
    "inbound by unknown address",
    () => peers.call({ leaf, authority: "10.5.0.99:80", from: "10.5.0.2" }),
  );
  await step(
    "inbound by unknown name",
    () => peers.call({ leaf, authority: "nobody.svc:80", from: "10.5.0.2" }),
  );
  await step(
    "inbound by own address",
    () => peers.call({ leaf, authority: "10.6.0.1:80", from: "10.5.0.44" }),
  );
  const before = server.heard.length;
  server.drop();
  await pause(500);
  notes.push({
    what: "reconnect",
    heard: describe().slice(before).filter((line) => line.includes("first")),
  });
  return {
    readyWithoutAddresses,
    first: server.heard.slice(0, 2).map(({ request }) => ({ ...request, node: undefined })),
    notes,
    violations: server.violations,
  };
}

/** As the control plane keeps it. */
function served(name: string, fields: Fields): XdsResource {
  const { workload, service } = fields;
  const ips: { network?: string; address: Uint8Array; length?: number }[] = service === undefined
    ? workload.addresses.map((address: Uint8Array) => ({ network: workload.network, address }))
    : service.addresses;
  const text = (address: Uint8Array) =>
    address.length === 4 ? address.join(".") : `fd05::${address[15]!.toString(16)}`;
  return resource("Address", name, XDS_PROTOBUF.encode("Address", fields), {
    aliases: ips.map(({ network = "", address, length }) =>
      `${network}/${text(address)}${length === undefined ? "" : `/${length}`}`
    ),
    node: workload?.node ?? "",
    services: Object.keys(workload?.services ?? {}),
  });
}
