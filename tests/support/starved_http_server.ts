// A readiness server whose process holds every descriptor it may have, until it reads a line.
import { HttpServer } from "../../src/admin/http_server.ts";
import { textResponse } from "../../src/admin/responses.ts";

const server = await HttpServer.listen({
  component: "readiness",
  addresses: [{ ip: "127.0.0.1", port: 0 }],
  handler: () => textResponse(200, "here"),
  logger: { log: (_level, _scope, message) => print(String(message)) },
});
print(String(server.addresses[0]!.port));
const held: Disposable[] = [];
try {
  for (;;) held.push(Deno.openSync("/dev/null"));
} catch {
  print("full");
}
await Deno.stdin.read(new Uint8Array(1));
for (const file of held) file[Symbol.dispose]();
await Deno.stdin.read(new Uint8Array(1));
await server.drain();

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
