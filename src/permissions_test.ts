// requirePermissions() names what is missing, and only that.
import { assertEquals, assertThrows } from "@std/assert";
import {
  describeNeed,
  type Need,
  PermissionMissingError,
  requirePermissions,
} from "./permissions.ts";

const SOCKS: Need = { kind: "net", what: "127.0.0.1:15080", why: "listen for SOCKS5 clients" };
const MESH: Need = { kind: "read", what: "examples/local.yaml", why: "read the mesh file" };

Deno.test("requirePermissions() passes when everything is granted", () => {
  requirePermissions([SOCKS, MESH], () => true);
});

Deno.test("requirePermissions() names each missing grant and why", () => {
  const error = assertThrows(
    () => requirePermissions([SOCKS, MESH], () => false),
    PermissionMissingError,
  );
  assertEquals(
    error.message,
    "Missing permission --allow-net=127.0.0.1:15080: needed to listen for SOCKS5 clients\n" +
      "Missing permission --allow-read=examples/local.yaml: needed to read the mesh file",
  );
});

Deno.test("requirePermissions() leaves out what is granted", () => {
  const error = assertThrows(
    () => requirePermissions([SOCKS, MESH], ({ kind }) => kind === "net"),
    PermissionMissingError,
  );
  assertEquals(error.message, describeNeed(MESH));
});
