// sourceFor(): BIND_ADDRESS is a source only where it can reach.
import { assertEquals } from "@std/assert";
import { type DataPlaneSettings, sourceFor } from "./parts.ts";

Deno.test.each([
  { name: "the kernel's choice without one", bindIp: null, to: "127.0.0.3", source: null },
  {
    name: "itself, loopback to loopback",
    bindIp: "127.0.0.2",
    to: "127.0.0.3",
    source: "127.0.0.2",
  },
  {
    name: "the kernel's choice from loopback outwards",
    bindIp: "127.0.0.2",
    to: "10.0.0.1",
    source: null,
  },
  { name: "the kernel's choice to loopback", bindIp: "10.0.0.1", to: "127.0.0.1", source: null },
  { name: "the kernel's choice in another family", bindIp: "127.0.0.2", to: "::1", source: null },
  { name: "itself in IPv6", bindIp: "fd00::1", to: "fd00::2", source: "fd00::1" },
])("sourceFor() gives $name", ({ bindIp, to, source }) => {
  const settings: Pick<DataPlaneSettings, "bindIp"> = { bindIp };
  assertEquals(sourceFor(settings as DataPlaneSettings, to), source);
});
